"""``export``, ``validate`` and ``bundle``: from a saved Keras model to a folder for the device."""

import pathlib

from tfcompress.cli.data_argument import HELP as DATA_HELP
from tfcompress.cli.data_argument import load_data
from tfcompress.cli.errors import CommandError
from tfcompress.cli.outcome import add_parser, one_line_errors, show

_LABELS_HELP = "a text file with a class name a line"


def add_to(commands) -> None:
    """Add the subcommands to the command's parser."""
    _add_export(commands)
    _add_validate(commands)
    _add_bundle(commands)


def _add_export(commands):
    parser = add_parser(
        commands,
        "export",
        "make a .tflite file of a .keras file",
        "Convert a saved Keras model, run the file, and report how it agrees with the model.",
        "  tfcompress export model.keras --out model.tflite --data samples.npz\n"
        "  tfcompress export model.keras --out model.tflite --quantization float16",
    )
    parser.add_argument(
        "model",
        help="a .keras file, or a .keras or .h5 file of tf_keras; a quantization-aware one keeps "
        "its numerics",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="the .tflite file to write")
    parser.add_argument(
        "--quantization",
        help="int8 (default), int16x8, dynamic, float16 or float32",
    )
    parser.add_argument("--data", help=DATA_HELP)
    parser.add_argument("--labels", metavar="FILE", help=_LABELS_HELP)
    parser.add_argument("--target", help="also judge whether this device runs the file")
    parser.set_defaults(run=run_export)


def run_export(arguments) -> None:
    """Run ``tfcompress export``."""
    with one_line_errors():
        model = load_model(arguments.model)

        from exporters import export_tflite

        data = load_data(arguments.data, image_size(model)) if arguments.data else None
        result = export_tflite(
            model,
            arguments.out,
            arguments.quantization,
            representative_data=data,
            labels=read_labels(arguments.labels),
            target=arguments.target,
        )
        if arguments.json:
            show(result.report, as_json=True)
        else:
            print(result.report)


def _add_validate(commands):
    parser = add_parser(
        commands,
        "validate",
        "compare a .tflite file with the model it was made of",
        "Run a .tflite file on every kernel set and compare it with a .keras or .tflite file.",
        "  tfcompress validate model.tflite --against model.keras --data test.npz",
    )
    parser.add_argument("file", help="a .tflite file")
    parser.add_argument("--against", required=True, help="a .keras or another .tflite file")
    parser.add_argument("--data", required=True, help=DATA_HELP)
    parser.set_defaults(run=run_validate)


def run_validate(arguments) -> None:
    """Run ``tfcompress validate``."""
    from exporters import validate

    with one_line_errors():
        against, size = arguments.against, None
        if pathlib.Path(against).suffix != ".tflite":
            against = load_model(against)
            size = image_size(against)
        show(validate(arguments.file, against, load_data(arguments.data, size)), arguments.json)


def _add_bundle(commands):
    parser = add_parser(
        commands,
        "bundle",
        "write a folder that proves on the device what a file does",
        "Write a .tflite file with golden inputs and outputs, code and a script that checks them.",
        "  tfcompress bundle model.tflite --out bundle --data test.npz --labels labels.txt",
    )
    parser.add_argument("file", help="a .tflite file")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to make")
    parser.add_argument("--data", help=DATA_HELP)
    parser.add_argument("--labels", metavar="FILE", help=_LABELS_HELP)
    parser.add_argument("--target", default="raspberry-pi-4", help="default: raspberry-pi-4")
    parser.set_defaults(run=run_bundle)


def run_bundle(arguments) -> None:
    """Run ``tfcompress bundle``."""
    from exporters import write_bundle

    with one_line_errors():
        data = load_data(arguments.data) if arguments.data else None
        folder = write_bundle(
            arguments.file,
            arguments.out,
            examples=data,
            labels=read_labels(arguments.labels),
            target=arguments.target,
        )
        if arguments.json:
            print((folder / "manifest.json").read_text(encoding="utf-8"))
        else:
            print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


def read_labels(path: str | None) -> list[str] | None:
    """Read a text file with a class name a line."""
    return None if path is None else pathlib.Path(path).read_text(encoding="utf-8").splitlines()


def load_model(path: str):
    """Load a .keras or .h5 file, of Keras 3 or tf_keras, without running code that it may hold."""
    if not pathlib.Path(path).is_file():
        raise CommandError(f"There is no such file. Received: {path}")
    import keras

    import tfcompress  # noqa: F401  (registers the classes that the file may name)
    from tfcompress.guests.files import is_tf_keras_file, load_tf_keras

    if is_tf_keras_file(path):
        return load_tf_keras(path)
    return keras.saving.load_model(path, compile=False)


def image_size(model) -> tuple[int, int] | None:
    """Return height and width of a model's input, if it is an image."""
    return size_of_image([tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()])


def size_of_image(shapes: list[tuple[int | None, ...]]) -> tuple[int, int] | None:
    """Return height and width where there is one input, and it is an image of a known size."""
    image = len(shapes) == 1 and len(shapes[0]) == 4
    return shapes[0][1:3] if image and all((size or 0) > 0 for size in shapes[0][1:3]) else None
