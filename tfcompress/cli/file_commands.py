"""``inspect``, ``check`` and ``benchmark``: what a .tflite file is, without TensorFlow."""

from tfcompress.cli.errors import EXIT_FAILED
from tfcompress.cli.outcome import add_parser, one_line_errors, show


def add_to(commands) -> None:
    """Add the subcommands to the command's parser."""
    _add_inspect(commands)
    _add_check(commands)
    _add_benchmark(commands)


def _add_inspect(commands):
    parser = add_parser(
        commands,
        "inspect",
        "show what is in a .tflite file",
        "List operations, types, sizes and scales of a .tflite file. The file is not run.",
        "  tfcompress inspect model.tflite\n  tfcompress inspect model.tflite --picture graph.svg",
    )
    parser.add_argument("file", help="a .tflite file")
    parser.add_argument("--picture", metavar="SVG", help="also draw the graph into this file")
    parser.set_defaults(run=run_inspect)


def run_inspect(arguments) -> None:
    """Run ``tfcompress inspect``."""
    from exporters import inspect
    from tfcompress.whole_file import write_whole

    with one_line_errors():
        inspection = inspect(arguments.file)
        if arguments.picture:
            write_whole(arguments.picture, inspection.to_svg().encode())
        show(inspection, arguments.json)


def _add_check(commands):
    parser = add_parser(
        commands,
        "check",
        "judge whether a device runs a .tflite file",
        "Judge whether a device runs a .tflite file: operations, versions, memory, and what its\n"
        "accelerator leaves to the processor. The exit code is 1 where the verdict is no.",
        "  tfcompress check model.tflite --target coral-edgetpu\n"
        "  tfcompress check model.tflite --target raspberry-pi-zero --fix fixed.tflite",
    )
    parser.add_argument("file", help="a .tflite file")
    parser.add_argument("--target", required=True, help="a device; an unknown one lists them")
    parser.add_argument(
        "--fix", metavar="FILE", help="write a file that means the same and suits the device better"
    )
    parser.set_defaults(run=run_check)


def run_check(arguments) -> int:
    """Run ``tfcompress check``."""
    from exporters import check_target
    from tfcompress.whole_file import require_writable, write_whole

    with one_line_errors():
        fixed = require_writable(arguments.fix) if arguments.fix else None
        verdict = check_target(arguments.file, arguments.target, fix=fixed is not None)
        if fixed is not None and verdict.fixed is not None:
            write_whole(fixed, verdict.fixed)
        show(verdict, arguments.json)
    return 0 if verdict.ok else EXIT_FAILED


def _add_benchmark(commands):
    parser = add_parser(
        commands,
        "benchmark",
        "measure latency and memory of .tflite files",
        "Run .tflite files on this computer, several in turns, and report latency and memory.",
        "  tfcompress benchmark float.tflite int8.tflite --threads 1 4\n"
        "  tfcompress benchmark int8.tflite --profile --json",
    )
    parser.add_argument("files", nargs="+", metavar="file", help="a .tflite file")
    parser.add_argument("--runs", type=int, default=50, help="runs of each file (default: 50)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="default: 1")
    parser.add_argument(
        "--kernels",
        nargs="+",
        default=["xnnpack"],
        help="xnnpack, builtin or reference (default: xnnpack)",
    )
    parser.add_argument("--profile", action="store_true", help="also time every operation")
    parser.set_defaults(run=run_benchmark)


def run_benchmark(arguments) -> None:
    """Run ``tfcompress benchmark``."""
    from exporters import benchmark

    with one_line_errors():
        result = benchmark(
            arguments.files,
            arguments.runs,
            arguments.threads,
            arguments.kernels,
            profile=arguments.profile,
        )
        show(result, arguments.json)
