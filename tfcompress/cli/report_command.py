"""``tfcompress report``: everything that is known about a file, as a page, Markdown and JSON."""

import json
import pathlib
import tempfile

from tfcompress.cli.data_argument import HELP as DATA_HELP
from tfcompress.cli.data_argument import check_data, load_data
from tfcompress.cli.errors import CommandError
from tfcompress.cli.folder_argument import prepare_folder
from tfcompress.cli.model_argument import (
    image_shape,
    image_shape_of_file,
    load_model,
    require_model_file,
)
from tfcompress.cli.outcome import add_parser, work
from tfcompress.cli.user_code import add_import_option, own_objects

_DESCRIPTION = """\
Inspect, run, compare and time a .tflite file, and write what was found as report.html (one page
that needs no network), report.md and report.json. Needs the extra `report`.
Without --data nothing is compared; without --model, layers are compared with --baseline.
"""

_EXAMPLES = """\
  tfcompress report model_int8.tflite --out report
  tfcompress report model_int8.tflite --model model.keras --baseline model_float.tflite \\
      --data test.npz --target raspberry-pi-4 --history history.json --out report"""


def add_to(commands) -> None:
    """Add the subcommand to the command's parser."""
    parser = add_parser(
        commands,
        "report",
        "write a page about a .tflite file",
        _DESCRIPTION,
        _EXAMPLES,
    )
    parser.add_argument("file", help="a .tflite file")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the report")
    parser.add_argument("--model", metavar="KERAS", help="the .keras file that it was made of")
    parser.add_argument("--baseline", metavar="FILE", help="the float .tflite file to compare with")
    parser.add_argument("--data", help=DATA_HELP)
    parser.add_argument("--examples", type=int, metavar="N", help="use N examples at most")
    parser.add_argument(
        "--target", nargs="+", metavar="NAME", help="devices to judge it for (default: all)"
    )
    parser.add_argument(
        "--history",
        nargs="+",
        metavar="FILE",
        help="how training went: JSON files of `history`, or CSV files of CSVLogger",
    )
    parser.add_argument("--search", metavar="DIR", help="the folder of the search that found it")
    parser.add_argument(
        "--kernels",
        nargs="+",
        default=["xnnpack", "builtin"],
        help="kernel sets; the first is timed (default: xnnpack builtin)",
    )
    parser.add_argument("--runs", type=int, default=50, help="runs of each file (default: 50)")
    parser.add_argument("--profile", action="store_true", help="also time every operation")
    add_import_option(parser)
    parser.set_defaults(run=run)


def run(arguments) -> None:
    """Run the subcommand."""
    from rich.console import Console

    from tfcompress.native_output import diverted_native_output
    from tfcompress.report import examine, write_report
    from tfcompress.report.writing import require_extra

    with work(arguments.json):
        require_extra()
        _check(arguments)
        out = prepare_folder(arguments.out)
        with (
            tempfile.TemporaryDirectory() as scratch,
            diverted_native_output(pathlib.Path(scratch) / "log"),
            Console(stderr=True).status("examining"),
        ):
            own = own_objects(arguments.modules, [arguments.data])
            model = load_model(arguments.model, own) if arguments.model else None
            findings = examine(
                arguments.file,
                model=model,
                baseline=arguments.baseline,
                data=_data(arguments, model),
                targets=arguments.target,
                history=arguments.history,
                search=arguments.search,
                kernels=arguments.kernels,
                runs=arguments.runs,
                profile=arguments.profile,
                sources=_sources(arguments),
                command=arguments.command_line,
            )
            page = write_report(findings, out)
    if arguments.json:
        print(json.dumps(findings.to_json(), indent=2))
        return
    _print(findings, page)


def _check(arguments) -> None:
    """Judge the arguments before TensorFlow loads."""
    from tfcompress.targets.target import load_target

    if arguments.model is not None:
        require_model_file(arguments.model)
    check_data(arguments.data)
    if arguments.examples is not None and arguments.examples < 1:
        raise CommandError(f"--examples must be at least 1. Received: {arguments.examples}")
    for name in arguments.target or ():
        load_target(name)


def _data(arguments, model):
    if arguments.data is None:
        return None
    shape = image_shape_of_file(arguments.file) or (model and image_shape(model))
    return load_data(arguments.data, shape, arguments.examples)


def _sources(arguments) -> list[str]:
    """Name the files whose hashes tell whether a report is about the same."""
    named = [arguments.model, arguments.data, *(arguments.history or ())]
    return [name for name in named if name is not None and pathlib.Path(name).is_file()]


def _print(findings, page: pathlib.Path) -> None:
    from rich.console import Console

    from tfcompress.cli.summary import files_table, remarks

    console = Console()
    console.print(files_table(findings))
    for line in (*remarks(findings), f"{page.parent}: report.html, report.md, report.json"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
