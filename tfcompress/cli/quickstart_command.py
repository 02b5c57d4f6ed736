"""``tfcompress quickstart``: the whole path on real data, in minutes."""

import json

from tfcompress.cli.command import CommandError, add_parser, prepare_folder
from tfcompress.extras import missing_extra
from tfcompress.native_output import diverted_native_output

_DESCRIPTION = """\
Train a teacher and a small student on photos of hand signs, compress the student inside fit
(pruning, quantization-aware training and distillation together), export it as an int8 TFLite file,
check that file against the Keras model in the interpreter, and measure both.
"""

_EXAMPLES = """\
  tfcompress quickstart --out results
  tfcompress quickstart --out results --seed 7 --json"""


def add_to(commands) -> None:
    """Add the subcommand to the command's parser."""
    summary = "train, compress, export and check a real model"
    parser = add_parser(commands, "quickstart", summary, _DESCRIPTION, _EXAMPLES, run)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (default: 0)")
    parser.add_argument(
        "--html", action="store_true", help="insist on report.html (needs the extra `report`)"
    )


def run(arguments) -> None:
    """Run the subcommand."""
    from tfcompress.report.rendering import missing_libraries

    html = not missing_libraries()
    if arguments.html and not html:
        raise CommandError(missing_extra("--html", "report"))
    if arguments.seed < 0:
        raise CommandError(f"--seed must not be negative. Received: {arguments.seed}")
    out = prepare_folder(arguments.out)
    with diverted_native_output(out / "quickstart.log"):
        # It loads Keras's backend: PyTorch cannot be loaded after TensorFlow.
        from tfcompress.cli.quickstart import compute_reproducibly, quickstart

        compute_reproducibly()
        findings = quickstart(out, arguments.seed, html, progress=not arguments.json)
    if arguments.json:
        print(json.dumps(findings.to_json(), indent=2))
