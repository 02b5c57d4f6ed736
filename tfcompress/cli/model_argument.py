"""The model of a command: checked by its file before TensorFlow loads, then loaded.

``--import`` names modules of the user's with the layers and functions that the model needs.
"""

import importlib
import json
import os
import pathlib
import sys
import types
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from tfcompress.cli.command import CommandError

_SAVE = "save the model with model.save('model.keras') and pass that file"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_CHANNELS = (1, 3, 4)  # of images


def require_model_file(path: str) -> None:
    """Check, without TensorFlow, that a path is a .keras or .h5 file without Python code in it."""
    file = pathlib.Path(path)
    if (file / "saved_model.pb").is_file():
        raise CommandError(
            f"A SavedModel folder holds a graph instead of Keras layers, which are needed: {_SAVE}."
            f" Received: {path}"
        )
    if file.is_dir():
        raise CommandError(f"A folder is not a model: {_SAVE}. Received: {path}")
    if not file.is_file():
        raise CommandError(f"There is no such file. Received: {path}")
    if file.suffix == ".tflite":
        raise CommandError(
            "A .tflite file is the result of an export: pass the .keras file that it was made of. "
            f"Received: {path}"
        )
    if zipfile.is_zipfile(file):
        _require_no_code(file)
        return
    with file.open("rb") as content:
        if content.read(len(_HDF5)) != _HDF5:
            raise CommandError(
                "The file is not a Keras model: it is neither a .keras archive nor an HDF5 file. "
                f"It may be damaged or incomplete; {_SAVE}. Received: {path}"
            )
    if not _has_config(file):
        raise CommandError(
            "The file holds weights without the model: make the model in Python, call "
            f"load_weights, and {_SAVE}. Received: {path}"
        )


def _has_config(file: pathlib.Path) -> bool:
    """Tell whether an HDF5 file holds a model, not its weights alone."""
    import h5py

    try:
        with h5py.File(file) as content:
            return "model_config" in content.attrs
    except OSError:  # a damaged file, of which loading says more
        return True


def _require_no_code(file: pathlib.Path) -> None:
    from tfcompress.legacy.files import is_tf_keras_file, packed_config

    config = packed_config(file)
    if config is None:
        raise CommandError(
            f"The archive is not a Keras model, as it lacks config.json: {_SAVE}. Received: {file}"
        )
    if is_tf_keras_file(file):
        return
    for layer in _layers_with_code(json.loads(config)):
        raise CommandError(
            f"Lambda layer {layer!r} holds Python code, which is not run from a file. Replace it "
            "by a class of your own and name its module by --import; or, if you trust the file, "
            f"load it in Python, keras.saving.load_model({str(file)!r}, safe_mode=False), and call "
            f"exporters.export_tflite there. Received: {file}"
        )


def _layers_with_code(config: Any) -> Iterator[str]:
    """Find the Lambda layers of a configuration whose function is stored as code."""
    parts = config if isinstance(config, list) else ()
    if isinstance(config, Mapping):
        parts = config.values()
        own = config.get("config")
        if config.get("class_name") == "Lambda" and isinstance(own, Mapping):
            function = own.get("function")
            if isinstance(function, Mapping) and function.get("class_name") == "__lambda__":
                yield own.get("name")
    for part in parts:
        yield from _layers_with_code(part)


def load_model(path: str, custom_objects: Mapping[str, Any] | None = None):
    """Load a .keras or .h5 file, of Keras 3 or tf_keras, without running code that it may hold.

    Args:
        path: the file.
        custom_objects: the user's classes and functions, by name.
    """
    require_model_file(path)
    import keras

    import tfcompress  # noqa: F401  (registers the classes that the file may name)
    from tfcompress.legacy.files import is_tf_keras_file, load_tf_keras

    if is_tf_keras_file(path):
        return load_tf_keras(path)
    try:
        return keras.saving.load_model(path, dict(custom_objects or {}), compile=False)
    except TypeError as error:
        # Keras's error about a name that it cannot locate.
        for head in ("Could not locate class '", "Could not locate function '"):
            if head in str(error):
                unknown = str(error).rpartition(head)[2].partition("'")[0]
                raise CommandError(
                    f"The model has a layer or function of your own, {unknown}, that Keras does "
                    "not know: name the module that defines it, such as --import own_layers. "
                    f"Received: {path}"
                ) from error
        raise


def image_shape(model) -> tuple[int, int, int] | None:
    """Return height, width and channels of a model's input, if it is an image."""
    from tfcompress.keras_graph.wrapper import unwrap

    declared = getattr(unwrap(model), "inputs", None) or ()
    return shape_of_image([tuple(tensor.shape) for tensor in declared])


def class_count(model) -> int | None:
    """Return the size of the last axis of a model's output, if there is one output."""
    from tfcompress.keras_graph.wrapper import unwrap

    declared = getattr(unwrap(model), "outputs", None) or ()
    return declared[0].shape[-1] if len(declared) == 1 and declared[0].shape else None


def image_shape_of_file(file: str | os.PathLike) -> tuple[int, int, int] | None:
    """Return height, width and channels of a .tflite file's input, if it is an image."""
    from exporters import inspect

    return shape_of_image([tensor.shape for tensor in inspect(file).inputs])


def labels_of_file(file: str | os.PathLike) -> tuple[str, ...]:
    """Return the class labels in a .tflite file; none if it has none."""
    from exporters import inspect

    return inspect(file).labels


def shape_of_image(shapes: list[tuple[int | None, ...]]) -> tuple[int, int, int] | None:
    """Return height, width and channels if there is one input, an image of a known size."""
    if len(shapes) != 1 or len(shapes[0]) != 4:
        return None
    height, width, channels = shapes[0][1:]
    known = (height or 0) > 0 and (width or 0) > 0 and channels in _CHANNELS
    return (height, width, channels) if known else None


def add_import_option(parser) -> None:
    """Add ``--import`` to the parser of a command that loads models."""
    parser.add_argument(
        "--import",
        dest="modules",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="modules, looked for from the current folder on, that define the model's own layers",
    )


def import_module(name: str, flag: str) -> types.ModuleType:
    """Import a module that an option names, from the current folder on."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CommandError(
            f"{flag}: {error}. Name a module as in an import statement, such as own_layers for "
            f"own_layers.py in the current folder. Received: {name}"
        ) from error


def custom_objects(modules: list[str], data: list[str | None]) -> dict[str, Any]:
    """Return the classes and functions that modules of ``--import`` and ``--data`` define, by name.

    Those that are registered with Keras need no more than the import.
    """
    named = [(name, "--import") for name in modules]
    named += [(text.partition(":")[0], "--data") for text in data if is_function(text)]
    found = {}
    for name, flag in named:
        module = import_module(name, flag)
        found |= {
            key: value
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
        }
    return found


def is_function(argument: str | None) -> bool:
    """Tell whether an argument names a function as module:function."""
    return argument is not None and ":" in argument and not os.path.exists(argument)
