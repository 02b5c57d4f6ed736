"""``inspect``, ``check``, ``encode``, ``benchmark``: on a .tflite file, without TensorFlow."""

import json

from tfcompress.cli.command import (
    EXIT_FAILED,
    CommandError,
    add_parser,
    require_other_file,
    show,
    work,
)


def add_to(commands) -> None:
    """Add the subcommands to the command's parser."""
    parser = add_parser(
        commands,
        "inspect",
        "show what is in a .tflite file",
        "List operations, types, sizes and scales of a .tflite file. The file is not run.",
        "  tfcompress inspect model.tflite\n  tfcompress inspect model.tflite --picture graph.svg",
        run_inspect,
    )
    parser.add_argument("file", help="a .tflite file")
    parser.add_argument("--picture", metavar="SVG", help="also draw the graph into this file")

    parser = add_parser(
        commands,
        "check",
        "check whether devices run a .tflite file",
        "Check whether devices run a .tflite file: operations, versions, memory, and what an\n"
        "accelerator leaves to the processor. The exit code is 1 if a device does not run it.",
        "  tfcompress check model.tflite --target coral-edgetpu microcontroller\n"
        "  tfcompress check model.tflite --target raspberry-pi-zero --fix fixed.tflite",
        run_check,
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
        help="write an equivalent file that suits the device better; for one --target",
    )

    parser = add_parser(
        commands,
        "encode",
        "make a .tflite file smaller for microcontrollers",
        "Encode the int8 kernels of a .tflite file for TensorFlow Lite for Microcontrollers,\n"
        "which decodes them as it runs: zeros, clusters and frequent values take less flash.",
        "  tfcompress encode model.tflite --out model_encoded.tflite",
        run_encode,
    )
    parser.add_argument("file", help="a .tflite file")
    parser.add_argument("--out", required=True, metavar="FILE", help="where to write it")

    parser = add_parser(
        commands,
        "benchmark",
        "measure latency and memory of .tflite files",
        "Run .tflite files on this computer, several in turns, and report latency and memory.",
        "  tfcompress benchmark float.tflite int8.tflite --threads 1 4\n"
        "  tfcompress benchmark int8.tflite --profile --json",
        run_benchmark,
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


def run_inspect(arguments) -> None:
    """Run ``tfcompress inspect``."""
    from exporters import inspect
    from tfcompress.atomic_files import require_writable, write_atomically

    with work(arguments.json):
        require_other_file("--picture", arguments.picture, arguments.file)
        if arguments.picture:
            require_writable(arguments.picture)
        inspection = inspect(arguments.file)
        if arguments.picture:
            write_atomically(arguments.picture, inspection.to_svg().encode())
    show(inspection, arguments.json)


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


def run_encode(arguments) -> None:
    """Run ``tfcompress encode``."""
    from exporters import encode_weights

    with work(arguments.json):
        require_other_file("--out", arguments.out, arguments.file)
        report = encode_weights(arguments.file, arguments.out)
    show(report, arguments.json)


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
