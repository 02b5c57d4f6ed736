"""``inspect``, ``check`` and ``benchmark``: what a .tflite file is, without TensorFlow."""

import json

from tfcompress.cli.errors import EXIT_FAILED, CommandError
from tfcompress.cli.file_argument import require_other_file
from tfcompress.cli.outcome import add_parser, show, work


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
    from tfcompress.atomic_files import write_atomically

    with work(arguments.json):
        require_other_file("--picture", arguments.picture, arguments.file)
        inspection = inspect(arguments.file)
        if arguments.picture:
            write_atomically(arguments.picture, inspection.to_svg().encode())
    show(inspection, arguments.json)


def _add_check(commands):
    parser = add_parser(
        commands,
        "check",
        "judge whether devices run a .tflite file",
        "Judge whether devices run a .tflite file: operations, versions, memory, and what an\n"
        "accelerator leaves to the processor. The exit code is 1 where a verdict is no.",
        "  tfcompress check model.tflite --target coral-edgetpu microcontroller\n"
        "  tfcompress check model.tflite --target raspberry-pi-zero --fix fixed.tflite",
    )
    parser.add_argument("file", help="a .tflite file")
    parser.add_argument(
        "--target",
        nargs="+",
        required=True,
        metavar="NAME",
        help="devices; an unknown one lists them. JSON is a list where there are several",
    )
    parser.add_argument(
        "--fix",
        metavar="FILE",
        help="write a file that means the same and suits the device better; for one --target",
    )
    parser.set_defaults(run=run_check)


def run_check(arguments) -> int:
    """Run ``tfcompress check``."""
    from exporters import check_target
    from tfcompress.atomic_files import require_writable, write_atomically
    from tfcompress.targets.target import load_target

    with work(arguments.json):
        targets = [load_target(name) for name in arguments.target]
        if arguments.fix and len(targets) > 1:
            raise CommandError(
                "--fix rewrites the file for one device: name one --target. "
                f"Received: {', '.join(arguments.target)}"
            )
        require_other_file("--fix", arguments.fix, arguments.file)
        fixed = require_writable(arguments.fix) if arguments.fix else None
        verdicts = [check_target(arguments.file, target, fix=bool(fixed)) for target in targets]
        if fixed is not None and verdicts[0].fixed is not None:
            write_atomically(fixed, verdicts[0].fixed)
    if not arguments.json:
        print("\n".join(verdict.to_text() for verdict in verdicts))
    else:
        found = [verdict.to_json() for verdict in verdicts]
        print(json.dumps(found if len(found) > 1 else found[0], indent=2))
    return 0 if all(verdict.ok for verdict in verdicts) else EXIT_FAILED


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

    with work(arguments.json):
        result = benchmark(
            arguments.files,
            arguments.runs,
            arguments.threads,
            arguments.kernels,
            profile=arguments.profile,
        )
    show(result, arguments.json)
