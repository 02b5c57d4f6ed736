"""``tfcompress report``: everything that is known about a file, as a page, Markdown and JSON."""

import json
import os
import pathlib
import tempfile

from tfcompress.cli.command import add_parser, prepare_folder, require_outside, work
from tfcompress.cli.data_argument import HELP as DATA_HELP
from tfcompress.cli.data_argument import check_arguments, class_folders, load_data
from tfcompress.cli.model_argument import (
    add_import_option,
    custom_objects,
    image_shape,
    image_shape_of_file,
    labels_of_file,
    load_model,
)
from tfcompress.native_output import diverted_native_output

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
        commands, "report", "write a page about a .tflite file", _DESCRIPTION, _EXAMPLES, run
    )
    add = parser.add_argument
    add("file", help="a .tflite file")
    add("--out", required=True, metavar="DIR", help="folder for the report")
    add("--model", metavar="KERAS", help="the .keras file that it was made of")
    add("--baseline", metavar="FILE", help="the float .tflite file to compare with")
    add("--data", help=DATA_HELP)
    add("--examples", type=int, metavar="N", help="use N examples at most")
    add("--target", nargs="+", metavar="NAME", help="devices to check it for (default: all)")
    add(
        "--history",
        nargs="+",
        metavar="FILE",
        help="metrics of the training: JSON files of `history`, or CSV files of CSVLogger",
    )
    add("--search", metavar="DIR", help="the folder of the search that found it")
    add(
        "--kernels",
        nargs="+",
        default=["xnnpack", "builtin"],
        help="kernel sets; the first is timed (default: xnnpack builtin)",
    )
    add("--runs", type=int, default=50, help="runs of each file (default: 50)")
    add("--profile", action="store_true", help="also time every operation")
    add_import_option(parser)


def run(arguments) -> None:
    """Run the subcommand."""
    from rich.console import Console

    from tfcompress.report import examine, write_report
    from tfcompress.report.rendering import require_extra

    with work(arguments.json):
        require_extra()
        check_arguments(arguments)
        require_outside(arguments.out, arguments.data)
        out = prepare_folder(arguments.out)
        with (
            tempfile.TemporaryDirectory() as scratch,
            diverted_native_output(pathlib.Path(scratch) / "log"),
            Console(stderr=True).status("examining"),
        ):
            own = custom_objects(arguments.modules, [arguments.data])
            model = load_model(arguments.model, own) if arguments.model else None
            shape = image_shape_of_file(arguments.file) or (model and image_shape(model))
            names = labels_of_file(arguments.file)
            data = load_data(arguments.data, shape, arguments.examples, class_names=names)
            named = [arguments.model, arguments.data, *(arguments.history or ())]
            findings = examine(
                arguments.file,
                model=model,
                baseline=arguments.baseline,
                data=data,
                targets=arguments.target,
                history=arguments.history,
                search=arguments.search,
                kernels=arguments.kernels,
                runs=arguments.runs,
                profile=arguments.profile,
                sources=[name for name in named if name and pathlib.Path(name).is_file()],
                command=arguments.command_line,
                class_names=names or class_folders(arguments.data) or None,
            )
            page = write_report(findings, out)
    if arguments.json:
        print(json.dumps(findings.to_json(), indent=2))
        return
    console = Console()
    console.print(files_table(findings))
    for line in (*remarks(findings), f"{page.parent}: report.html, report.md, report.json"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def files_table(findings):
    """Make a table with a row for each file: metric, sizes, latency, float operations."""
    from rich.table import Table

    from tfcompress.report import formats

    table = Table(title="in the interpreter, on this computer; sizes in bytes")
    headings = ("file", findings.metric_name, "size", "gzipped", "median, ms", "float ops")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "file" else "right", no_wrap=True)
    for file in filter(None, (findings.baseline, findings.file)):
        table.add_row(
            os.path.basename(file.name),
            formats.metric(file.metric, findings.metric_name),
            formats.count(file.size),
            formats.count(file.gzip_size),
            formats.milliseconds(file.latency).removesuffix(" ms"),
            str(file.float_operations),
        )
    return table


def remarks(findings) -> list[str]:
    """Sum up findings, in a sentence each."""
    from tfcompress.report import formats

    said = []
    if findings.baseline is not None:
        sparsity = formats.percent(findings.file.sparsity)
        said.append(f"{findings.gains()}; {sparsity} of the weights are zero")
    if findings.agreement is not None:
        agreement = findings.agreement
        quantized = agreement.ran[0].outputs[0].unit == "LSB"
        text = (
            f"against {findings.reference}: {formats.percent(agreement.equal)} of the outputs "
            f"equal, {formats.percent(agreement.within_one)} within one step, largest difference "
            f"{agreement.largest:.3g}{' steps' * quantized}"
        )
        if agreement.same_class is not None:
            text += f", same class on {formats.percent(agreement.same_class)}"
        said.append(text)
    for ok, words in ((True, "taken as it is by"), (False, "not taken as it is by")):
        devices = [verdict.target for verdict in findings.verdicts if verdict.ok == ok]
        said += [f"{words} {', '.join(devices)}"] if devices else []
    return said
