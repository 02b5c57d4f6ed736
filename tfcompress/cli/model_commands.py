"""``export``, ``validate`` and ``bundle``: from a saved Keras model to a folder for the device."""

import argparse
import pathlib

from tfcompress.cli.command import (
    CommandError,
    add_parser,
    require_other_file,
    require_outside,
    show,
    work,
)
from tfcompress.cli.data_argument import HELP as DATA_HELP
from tfcompress.cli.data_argument import check_arguments, check_data, class_folders, load_data
from tfcompress.cli.model_argument import (
    add_import_option,
    class_count,
    custom_objects,
    image_shape,
    image_shape_of_file,
    labels_of_file,
    load_model,
    require_model_file,
)

_LABELS_HELP = "a text file with a class name a line"
_QUANTIZATIONS = ("int8", "int16x8", "dynamic", "float16", "float32")
_WITH_RANGES = (None, "int8", "int16x8")
_DTYPES = ("int8", "uint8", "float32")
_MAX_EXAMPLES = 500  # of a folder, to observe ranges on


def add_to(commands) -> None:
    """Add the subcommands to the command's parser."""
    parser = add_parser(
        commands,
        "export",
        "make a .tflite file of a .keras file",
        "Convert a saved Keras model, run the file, and report how it agrees with the model.",
        "  tfcompress export model.keras --out model.tflite --data samples.npz\n"
        "  tfcompress export model.keras --out model.tflite --data photos\n"
        "  tfcompress export model.keras --out model.tflite --quantization float16",
        run_export,
    )
    add = parser.add_argument
    add(
        "model",
        help="a .keras file, or a .keras or .h5 file of tf_keras; a quantization-aware one keeps "
        "its numerics",
    )
    add("--out", required=True, metavar="FILE", help="the .tflite file to write")
    add("--quantization", choices=_QUANTIZATIONS, help="numbers of the file (default: int8)")
    add("--data", help=f"to observe ranges on; {DATA_HELP}")
    add(
        "--examples",
        type=int,
        default=_MAX_EXAMPLES,
        metavar="N",
        help=f"use N examples of --data at most (default: {_MAX_EXAMPLES})",
    )
    add(
        "--validation-data",
        metavar="DATA",
        help="to compare the file with the model on, likewise (default: 64 examples of --data)",
    )
    labels_help = f"{_LABELS_HELP} (default: the names of the folders in a folder of images)"
    add("--labels", metavar="FILE", help=labels_help)
    add(
        "--normalization",
        nargs=2,
        type=_numbers,
        metavar=("MEAN", "DEVIATION"),
        help="what raw inputs are normalized with before they are fed, stored for apps to read: "
        "one number or, with commas, one a channel",
    )
    add("--input-dtype", choices=_DTYPES, default="int8", help="of integer files (default: int8)")
    add("--output-dtype", choices=_DTYPES, default="int8", help="likewise")
    add(
        "--interface",
        choices=("mediapipe",),
        help="write the file as MediaPipe's image tasks take it; needs --normalization",
    )
    add("--target", help="also check whether this device runs the file")
    add(
        "--no-repair",
        action="store_true",
        help="do not try whether the int8 file is nearer to the model once that is repaired",
    )
    add_import_option(parser)

    parser = add_parser(
        commands,
        "validate",
        "compare a .tflite file with the model it was made of",
        "Run a .tflite file on every kernel set and compare it with a .keras or .tflite file.",
        "  tfcompress validate model.tflite --against model.keras --data test.npz",
        run_validate,
    )
    parser.add_argument("file", help="a .tflite file")
    parser.add_argument("--against", required=True, help="a .keras or another .tflite file")
    parser.add_argument("--data", required=True, help=DATA_HELP)
    add_import_option(parser)

    parser = add_parser(
        commands,
        "bundle",
        "write a folder that proves on the device what a file does",
        "Write a .tflite file with golden inputs and outputs, code and a script that checks them.",
        "  tfcompress bundle model.tflite --out bundle --data test.npz --labels labels.txt",
        run_bundle,
    )
    parser.add_argument("file", help="a .tflite file")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to create")
    parser.add_argument("--data", help=DATA_HELP)
    parser.add_argument("--labels", metavar="FILE", help=_LABELS_HELP)
    parser.add_argument("--target", default="raspberry-pi-4", help="default: raspberry-pi-4")
    parser.add_argument(
        "--encode-weights",
        action="store_true",
        help="encode the kernels in the C array for microcontrollers (see `encode`)",
    )


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"takes a number, or one for each channel with commas. Received: {text}"
        ) from None


def run_export(arguments) -> None:
    """Run ``tfcompress export``."""
    with work(arguments.json):
        from tfcompress.atomic_files import require_writable

        check_arguments(arguments)
        require_other_file("--out", arguments.out, arguments.model)
        require_writable(arguments.out)
        labels = _given_labels(arguments)
        own = custom_objects(arguments.modules, [arguments.data, arguments.validation_data])
        model = load_model(arguments.model, own)
        _require_ranges(arguments, model)
        labels = labels or _names_of_folders(arguments, model)

        from exporters import export_tflite

        shape = image_shape(model)
        names = labels or ()
        data = load_data(arguments.data, shape, arguments.examples, class_names=names)
        validation = load_data(
            arguments.validation_data, shape, class_names=names, flag="--validation-data"
        )
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
            interface=arguments.interface,
            target=arguments.target,
            repair=not arguments.no_repair,
            progress=not arguments.json,
        )
    if arguments.json:
        show(result.report, as_json=True)
    else:
        print(result.report)


def _given_labels(arguments):
    """Return the labels of the file that ``--labels`` names."""
    from exporters.metadata import label_names

    return None if arguments.labels is None else label_names(arguments.labels)


def _names_of_folders(arguments, model) -> tuple[str, ...] | None:
    """Return the names of the folders of classes, if the model has so many classes."""
    count = class_count(model)
    data = (arguments.validation_data, arguments.data)
    return next((names for names in map(class_folders, data) if len(names) == count), None)


def _require_ranges(arguments, model) -> None:
    """Check that there is data to observe ranges on, unless the model has learned its ranges."""
    import keras

    from tfcompress.keras_graph.wrapper import unwrap

    learned = not isinstance(model, keras.Model) or unwrap(model) is not model
    if arguments.data is None and arguments.quantization in _WITH_RANGES and not learned:
        raise CommandError(
            f"{arguments.quantization or 'int8'} observes ranges on examples: --data photos/ (a "
            "folder of images), --data samples.npz or --data module:function, some hundred like "
            "those in use. Or choose --quantization dynamic, float16 or float32, which need none. "
            f"Received: {arguments.model} without --data"
        )


def run_validate(arguments) -> None:
    """Run ``tfcompress validate``."""
    from exporters import validate

    with work(arguments.json):
        against = arguments.against
        is_file = pathlib.Path(against).suffix == ".tflite"
        if not is_file:
            require_model_file(against)
        check_data(arguments.data)
        own = custom_objects(arguments.modules, [arguments.data])
        shape = image_shape_of_file(arguments.file)
        if not is_file:
            against = load_model(against, own)
            shape = shape or image_shape(against)
        names = labels_of_file(arguments.file)
        data = load_data(arguments.data, shape, class_names=names)
        agreement = validate(arguments.file, against, data)
    show(agreement, arguments.json)


def run_bundle(arguments) -> None:
    """Run ``tfcompress bundle``."""
    from exporters import write_bundle

    with work(arguments.json):
        check_data(arguments.data)
        require_outside(arguments.out, arguments.data)
        labels = _given_labels(arguments)
        names = labels or labels_of_file(arguments.file)
        shape = image_shape_of_file(arguments.file)
        data = load_data(arguments.data, shape, class_names=names)
        folder = write_bundle(
            arguments.file,
            arguments.out,
            examples=data,
            labels=labels,
            target=arguments.target,
            encode_weights=arguments.encode_weights,
        )
        manifest = (folder / "manifest.json").read_text(encoding="utf-8")
        names = sorted(path.name for path in folder.iterdir())
    text = f"{folder}: {', '.join(names)}\n{folder / 'README.md'} says how to go on"
    print(manifest if arguments.json else text)
