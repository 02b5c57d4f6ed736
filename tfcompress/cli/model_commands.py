"""``export``, ``validate`` and ``bundle``: from a saved Keras model to a folder for the device."""

import pathlib

from tfcompress.cli.data_argument import HELP as DATA_HELP
from tfcompress.cli.data_argument import check_data, load_data
from tfcompress.cli.errors import CommandError
from tfcompress.cli.file_argument import require_other_file
from tfcompress.cli.model_argument import (
    image_shape,
    image_shape_of_file,
    load_model,
    require_model_file,
)
from tfcompress.cli.outcome import add_parser, show, work
from tfcompress.cli.user_code import add_import_option, own_objects

_LABELS_HELP = "a text file with a class name a line"
_QUANTIZATIONS = ("int8", "int16x8", "dynamic", "float16", "float32")
_WITH_RANGES = (None, "int8", "int16x8")
_INTEGERS = ("int8", "uint8", "float32")
_EXAMPLES = 500  # of a folder, to observe ranges on


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
        "  tfcompress export model.keras --out model.tflite --data photos --labels labels.txt\n"
        "  tfcompress export model.keras --out model.tflite --quantization float16",
    )
    parser.add_argument(
        "model",
        help="a .keras file, or a .keras or .h5 file of tf_keras; a quantization-aware one keeps "
        "its numerics",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="the .tflite file to write")
    parser.add_argument(
        "--quantization", choices=_QUANTIZATIONS, help="numbers of the file (default: int8)"
    )
    parser.add_argument("--data", help=f"to observe ranges on; {DATA_HELP}")
    parser.add_argument(
        "--examples",
        type=int,
        default=_EXAMPLES,
        metavar="N",
        help=f"use N examples of --data at most (default: {_EXAMPLES})",
    )
    parser.add_argument(
        "--validation-data",
        metavar="DATA",
        help="to compare the file with the model on, likewise (default: 64 examples of --data)",
    )
    parser.add_argument("--labels", metavar="FILE", help=_LABELS_HELP)
    parser.add_argument(
        "--normalization",
        nargs=2,
        type=_numbers,
        metavar=("MEAN", "DEVIATION"),
        help="what raw inputs are normalized with before they are fed, stored for apps to read: "
        "one number or, with commas, one a channel",
    )
    parser.add_argument(
        "--input-dtype", choices=_INTEGERS, default="int8", help="of integer files (default: int8)"
    )
    parser.add_argument("--output-dtype", choices=_INTEGERS, default="int8", help="likewise")
    parser.add_argument("--target", help="also judge whether this device runs the file")
    add_import_option(parser)
    parser.set_defaults(run=run_export)


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def run_export(arguments) -> None:
    """Run ``tfcompress export``."""
    with work(arguments.json):
        labels = _check_export(arguments)
        own = own_objects(arguments.modules, [arguments.data, arguments.validation_data])
        model = load_model(arguments.model, own)
        _require_ranges(arguments, model)

        from exporters import export_tflite

        shape = image_shape(model)
        data = validation = None
        if arguments.data is not None:
            data = load_data(arguments.data, shape, arguments.examples)
        if arguments.validation_data is not None:
            validation = load_data(arguments.validation_data, shape, flag="--validation-data")
        result = export_tflite(
            model,
            arguments.out,
            arguments.quantization,
            representative_data=data,
            validation_data=validation,
            input_dtype=arguments.input_dtype,
            output_dtype=arguments.output_dtype,
            labels=labels,
            normalization=arguments.normalization,
            target=arguments.target,
        )
    if arguments.json:
        show(result.report, as_json=True)
    else:
        print(result.report)


def _check_export(arguments) -> list[str] | None:
    """Judge the arguments before TensorFlow loads; return the labels."""
    from exporters.metadata import label_names
    from tfcompress.atomic_files import require_writable
    from tfcompress.targets.target import load_target

    require_model_file(arguments.model)
    require_other_file("--out", arguments.out, arguments.model)
    require_writable(arguments.out)
    if arguments.examples < 1:
        raise CommandError(f"--examples must be at least 1. Received: {arguments.examples}")
    check_data(arguments.data)
    check_data(arguments.validation_data, "--validation-data")
    if arguments.target is not None:
        load_target(arguments.target)
    return None if arguments.labels is None else label_names(arguments.labels)


def _require_ranges(arguments, model) -> None:
    """Check that there is data for what needs ranges: all but models that have learnt theirs."""
    import keras

    from tfcompress.keras_graph.wrapper import unwrap

    learnt = not isinstance(model, keras.Model) or unwrap(model) is not model
    if arguments.data is None and arguments.quantization in _WITH_RANGES and not learnt:
        raise CommandError(
            f"{arguments.quantization or 'int8'} observes ranges on examples: --data photos/ (a "
            "folder of images), --data samples.npz or --data module:function, some hundred like "
            "those in use. Or choose --quantization dynamic, float16 or float32, which need none. "
            f"Received: {arguments.model} without --data"
        )


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
    add_import_option(parser)
    parser.set_defaults(run=run_validate)


def run_validate(arguments) -> None:
    """Run ``tfcompress validate``."""
    from exporters import validate

    with work(arguments.json):
        against = arguments.against
        is_file = pathlib.Path(against).suffix == ".tflite"
        if not is_file:
            require_model_file(against)
        check_data(arguments.data)
        own = own_objects(arguments.modules, [arguments.data])
        shape = image_shape_of_file(arguments.file)
        if not is_file:
            against = load_model(against, own)
            shape = shape or image_shape(against)
        agreement = validate(arguments.file, against, load_data(arguments.data, shape))
    show(agreement, arguments.json)


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

    with work(arguments.json):
        check_data(arguments.data)
        data = None
        if arguments.data is not None:
            data = load_data(arguments.data, image_shape_of_file(arguments.file))
        folder = write_bundle(
            arguments.file,
            arguments.out,
            examples=data,
            labels=arguments.labels,
            target=arguments.target,
        )
        manifest = (folder / "manifest.json").read_text(encoding="utf-8")
        names = sorted(path.name for path in folder.iterdir())
    print(manifest if arguments.json else f"{folder}: {', '.join(names)}")
