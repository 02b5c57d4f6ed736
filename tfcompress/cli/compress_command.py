"""``tfcompress compress``: the best file within a budget, from a saved Keras model and its data."""

import contextlib
import importlib.util
import pathlib
import sys
import time
from collections.abc import Iterator

from tfcompress.cli.command import (
    EXIT_FAILED,
    CommandError,
    add_parser,
    one_line_errors,
    prepare_folder,
    require_other_file,
    require_outside,
    show,
    work,
)
from tfcompress.cli.data_argument import HELP as DATA_HELP
from tfcompress.cli.data_argument import check_arguments, load_data
from tfcompress.cli.model_argument import (
    add_import_option,
    custom_objects,
    image_shape,
    load_model,
)
from tfcompress.extras import missing_extra
from tfcompress.native_output import diverted_native_output

_OWN_FILES = ("original.keras", "best.keras")  # models that a search writes into its folder
_LIMITS = ("max_accuracy_drop", "max_size", "max_latency")
_COUNTS = ("epochs", "learning_rate", "batch_size", "max_trials")
_OTHERS = ("target", "metric", "metric_mode", "loss", "storage", "techniques", "seed")

_DESCRIPTION = """\
Remove channels, set weights to zero, round them, and fine-tune with the model itself as the
teacher, in trial after trial, until the time is up; keep the best .tflite file within the budget.
Trials are kept in --out: the same command resumes there after an interruption, and several at once
work together. The exit code is 1 if the budget is not met; the nearest file is there then, too.
"""

_EXAMPLES = """\
  tfcompress compress model.keras --data train.npz --validation-data val.npz --out search \\
      --target raspberry-pi-4 --max-accuracy-drop 0.01
  tfcompress compress model.keras --data own_data:train --validation-data own_data:validation \\
      --out search --max-size 40000 --max-latency 0.002 --time-budget 3600 --json"""


def add_to(commands) -> None:
    """Add the subcommand to the command's parser."""
    parser = add_parser(
        commands, "compress", "make a model fit a device and a budget", _DESCRIPTION, _EXAMPLES, run
    )
    add = parser.add_argument
    add("model", help="the .keras file of a trained model")
    add("--data", required=True, help=f"to train on; {DATA_HELP}")
    add("--validation-data", required=True, metavar="DATA", help="to measure accuracy on; likewise")
    add("--out", required=True, metavar="DIR", help="folder for trials and results")
    add("--target", help="the device; an unknown one lists them")
    drop_help = "against the float file; 0.01, the default, is one point; or in --metric's unit"
    add("--max-accuracy-drop", type=float, metavar="SHARE", help=drop_help)
    add("--metric", metavar="NAME", help="of Keras, to keep in the place of accuracy, such as mse")
    mode_help = "which is better (default: what the metric's name tells)"
    add("--metric-mode", choices=("auto", "max", "min"), default="auto", help=mode_help)
    add("--loss", metavar="NAME", help="of the training; needed with --metric")
    add("--max-size", type=int, metavar="BYTES", help="of the gzipped file")
    add("--max-latency", type=float, metavar="SECONDS", help="median of a run on this computer")
    add("--time-budget", type=float, default=900, metavar="SECONDS", help="default: 900")
    add("--epochs", type=int, help="of a trial; by default about 7 trials fit")
    add("--learning-rate", type=float, default=2e-3, help="default: 0.002")
    add("--batch-size", type=int, default=32, help="of .npz files (default: 32)")
    techniques_help = "channels, sparsity, precision, clusters (default: the first three)"
    add("--techniques", nargs="+", metavar="NAME", help=techniques_help)
    add("--max-trials", type=int, help="run at most so many trials")
    add("--storage", metavar="URL", help="a database for workers on several machines")
    add("--seed", type=int, default=0, help="default: 0")
    add_import_option(parser)


def run(arguments) -> int:
    """Run the subcommand."""
    if importlib.util.find_spec("optuna") is None:
        raise CommandError(missing_extra("compress", "search"))
    with one_line_errors():
        _check(arguments)
        require_outside(arguments.out, arguments.data, arguments.validation_data)
    out = prepare_folder(arguments.out)
    begun = time.monotonic()
    with _best_named(out), diverted_native_output(out / "compress.log"), work(arguments.json):
        own = custom_objects(arguments.modules, [arguments.data, arguments.validation_data])
        model = load_model(arguments.model, own)

        import tfcompress as tfc

        shape = image_shape(model)
        result = tfc.compress(
            model,
            load_data(arguments.data, shape, seed=arguments.seed, reshuffle=True),
            load_data(arguments.validation_data, shape, flag="--validation-data"),
            # The time that is asked for is the command's: what loading took is subtracted.
            time_budget=max(arguments.time_budget - (time.monotonic() - begun), 1e-3),
            directory=out,
            progress=not arguments.json,
            **{name: getattr(arguments, name) for name in (*_LIMITS, *_COUNTS, *_OTHERS)},
        )
    show(result, arguments.json)
    return 0 if result.met else EXIT_FAILED


def _check(arguments) -> None:
    """Check the arguments before TensorFlow loads."""
    from tfcompress.search.candidates import Space
    from tfcompress.search.results import ACCURACY, make_budget, require_positive

    check_arguments(arguments)
    for name in _OWN_FILES:
        require_other_file("--out", f"{arguments.out}/{name}", arguments.model)
    make_budget(arguments.metric or ACCURACY, *(getattr(arguments, name) for name in _LIMITS))
    require_positive(**{name: getattr(arguments, name) for name in ("time_budget", *_COUNTS)})
    if arguments.techniques is not None:
        Space(tuple(arguments.techniques))


@contextlib.contextmanager
def _best_named(out: pathlib.Path) -> Iterator[None]:
    """Print after Ctrl-C where the best file so far is."""
    try:
        yield
    except KeyboardInterrupt:
        best = out / "best.tflite"
        if best.exists():
            said = f"tfcompress: the best so far is {best}; the same command resumes"
            print(said, file=sys.stderr)
        raise
