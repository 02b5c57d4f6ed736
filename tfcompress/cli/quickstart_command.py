"""``tfcompress quickstart``: the whole path on real data, in minutes."""

from tfcompress.cli.errors import CommandError
from tfcompress.cli.folder_argument import prepare_folder

_DESCRIPTION = """\
Train a teacher and a small student on photos of hand signs, compress the student inside fit
(pruning, quantization-aware training and distillation together), export it as an int8 TFLite file,
check that file against the Keras model in the interpreter, and measure both.
"""

_EXAMPLES = """\
examples:
  tfcompress quickstart --out results
  tfcompress quickstart --out results --seed 7
"""


def add_to(commands) -> None:
    """Add the subcommand to the command's parser."""
    import argparse

    parser = commands.add_parser(
        "quickstart",
        help="train, compress, export and check a real model",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (default: 0)")
    parser.add_argument(
        "--html", action="store_true", help="insist on report.html (needs the extra `report`)"
    )
    parser.set_defaults(run=run)


def run(arguments) -> None:
    """Run the subcommand."""
    from tfcompress.report.writing import missing_libraries

    html = not missing_libraries()
    if arguments.html and not html:
        raise CommandError("--html needs an extra: pip install 'tfcompress[report]'")
    if arguments.seed < 0:
        raise CommandError(f"--seed must not be negative. Received: {arguments.seed}")
    out = prepare_folder(arguments.out)

    from tfcompress.cli.native_output import diverted_native_output

    with diverted_native_output(out / "quickstart.log"):
        import tensorflow as tf

        from tfcompress.cli.quickstart import quickstart

        # The same machine and seed give the same numbers.
        tf.config.experimental.enable_op_determinism()
        quickstart(out, arguments.seed, html)
