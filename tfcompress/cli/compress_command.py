"""``tfcompress compress``: the best file within a budget, from a saved Keras model and its data."""

import contextlib
import importlib.util
import json
import pathlib
import sys
import time
from collections.abc import Iterator

from tfcompress.cli.data_argument import HELP as DATA_HELP
from tfcompress.cli.data_argument import check_data, load_data
from tfcompress.cli.errors import EXIT_FAILED, CommandError
from tfcompress.cli.file_argument import require_other_file
from tfcompress.cli.folder_argument import prepare_folder
from tfcompress.cli.model_argument import image_shape, load_model, require_model_file
from tfcompress.cli.outcome import add_parser, one_line_errors, work
from tfcompress.cli.user_code import add_import_option, own_objects
from tfcompress.extras import missing_extra

_OWN_FILES = ("original.keras", "best.keras")  # models that a search writes into its folder

_DESCRIPTION = """\
Remove channels, set weights to zero, round them, and fine-tune with the model itself as the
teacher, in trial after trial, until the time is up; keep the best .tflite file within the budget.
Trials are kept in --out: the same command goes on there after an interruption, and several at once
work together. The exit code is 1 where the budget is not met; the nearest file is there then, too.
"""

_EXAMPLES = """\
  tfcompress compress model.keras --data train.npz --validation-data val.npz --out search \\
      --target raspberry-pi-4 --max-accuracy-drop 0.01
  tfcompress compress model.keras --data own_data:train --validation-data own_data:validation \\
      --out search --max-size 40000 --max-latency 0.002 --time-budget 3600 --json"""


def add_to(commands) -> None:
    """Add the subcommand to the command's parser."""
    parser = add_parser(
        commands, "compress", "make a model fit a device and a budget", _DESCRIPTION, _EXAMPLES
    )
    parser.add_argument("model", help="the .keras file of a trained classifier")
    parser.add_argument("--data", required=True, help=f"to train on; {DATA_HELP}")
    parser.add_argument(
        "--validation-data", required=True, metavar="DATA", help="to measure accuracy on; likewise"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for trials and results")
    parser.add_argument("--target", help="the device; an unknown one lists them")
    parser.add_argument(
        "--max-accuracy-drop",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="against the float file; 0.01, the default, is one point",
    )
    parser.add_argument("--max-size", type=int, metavar="BYTES", help="of the gzipped file")
    parser.add_argument(
        "--max-latency", type=float, metavar="SECONDS", help="median of a run on this computer"
    )
    parser.add_argument(
        "--time-budget", type=float, default=900, metavar="SECONDS", help="default: 900"
    )
    parser.add_argument("--epochs", type=int, help="of a trial; by default about 7 trials fit")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="default: 0.002")
    parser.add_argument("--batch-size", type=int, default=32, help="of .npz files (default: 32)")
    parser.add_argument(
        "--techniques",
        nargs="+",
        metavar="NAME",
        help="channels, sparsity, precision, clusters (default: the first three)",
    )
    parser.add_argument("--max-trials", type=int, help="trials at most")
    parser.add_argument(
        "--storage", metavar="URL", help="a database for workers on several machines"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    add_import_option(parser)
    parser.set_defaults(run=run)


def run(arguments) -> int:
    """Run the subcommand."""
    if importlib.util.find_spec("optuna") is None:
        raise CommandError(missing_extra("compress", "search"))
    with one_line_errors():
        _check(arguments)
    out = prepare_folder(arguments.out)
    begun = time.monotonic()

    from tfcompress.cli.native_output import diverted_native_output

    with (
        _interruption_told(out),
        diverted_native_output(out / "compress.log"),
        work(arguments.json),
    ):
        own = own_objects(arguments.modules, [arguments.data, arguments.validation_data])
        model = load_model(arguments.model, own)

        import tfcompress as tfc

        shape = image_shape(model)
        result = tfc.compress(
            model,
            load_data(arguments.data, shape, seed=arguments.seed, reshuffle=True),
            load_data(arguments.validation_data, shape, flag="--validation-data"),
            target=arguments.target,
            max_accuracy_drop=arguments.max_accuracy_drop,
            max_size=arguments.max_size,
            max_latency=arguments.max_latency,
            time_budget=_left(arguments.time_budget, begun),
            directory=out,
            storage=arguments.storage,
            techniques=arguments.techniques,
            epochs=arguments.epochs,
            learning_rate=arguments.learning_rate,
            batch_size=arguments.batch_size,
            max_trials=arguments.max_trials,
            seed=arguments.seed,
            progress=not arguments.json,
        )
    print(json.dumps(result.to_json(), indent=2) if arguments.json else result.to_text())
    return 0 if result.met else EXIT_FAILED


def _check(arguments) -> None:
    """Judge the arguments before TensorFlow loads."""
    from tfcompress.search.budget import Budget, require_positive
    from tfcompress.search.space import Space
    from tfcompress.targets.target import load_target

    require_model_file(arguments.model)
    for name in _OWN_FILES:
        require_other_file("--out", f"{arguments.out}/{name}", arguments.model)
    check_data(arguments.data)
    check_data(arguments.validation_data, "--validation-data")
    Budget(arguments.max_accuracy_drop, arguments.max_size, arguments.max_latency)
    require_positive(
        time_budget=arguments.time_budget,
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        batch_size=arguments.batch_size,
        max_trials=arguments.max_trials,
    )
    if arguments.target is not None:
        load_target(arguments.target)
    if arguments.techniques is not None:
        Space(tuple(arguments.techniques))


def _left(time_budget: float, begun: float) -> float:
    """Take off what loading took: the time that is asked for is the command's."""
    return max(time_budget - (time.monotonic() - begun), 1e-3)


@contextlib.contextmanager
def _interruption_told(out: pathlib.Path) -> Iterator[None]:
    """Say after Ctrl-C where the best so far is."""
    try:
        yield
    except KeyboardInterrupt:
        best = out / "best.tflite"
        if best.exists():
            print(
                f"tfcompress: the best so far is {best}; the same command goes on", file=sys.stderr
            )
        raise
