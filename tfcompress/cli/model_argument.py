"""The model that a command is given: judged by its file before TensorFlow loads, then loaded."""

import json
import os
import pathlib
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from tfcompress.cli.errors import CommandError

_SAVE = "save the model with model.save('model.keras') and give that file"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_PIXELS = (1, 3, 4)  # channels of images


def require_model_file(path: str) -> None:
    """Check, without TensorFlow, that a path is a model's file that can be loaded.

    Args:
        path: a .keras or .h5 file.

    Raises:
        CommandError: there is none, it is of another kind, or it holds Python code.
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    file = pathlib.Path(path)
    if (file / "saved_model.pb").is_file():
        raise CommandError(
            f"A SavedModel folder holds a graph, not the Keras layers that are needed: {_SAVE}. "
            f"Received: {path}"
        )
    if file.is_dir():
        raise CommandError(f"A folder is no model: {_SAVE}. Received: {path}")
    if not file.is_file():
        raise CommandError(f"There is no such file. Received: {path}")
    if file.suffix == ".tflite":
        raise CommandError(
            f"A .tflite file is the result of an export; the .keras file that it was made of is "
            f"needed. Received: {path}"
        )
    if zipfile.is_zipfile(file):
        _require_no_code(file)
    elif not _is_hdf5(file):
        raise CommandError(
            f"The file is no Keras model: it is neither a .keras archive nor an HDF5 file. It may "
            f"be damaged or only a part of a download; {_SAVE}. Received: {path}"
        )


def _is_hdf5(file: pathlib.Path) -> bool:
    with file.open("rb") as content:
        return content.read(len(_HDF5)) == _HDF5


def _require_no_code(file: pathlib.Path) -> None:
    from tfcompress.legacy.files import is_tf_keras_file, packed_config

    config = packed_config(file)
    if config is None:
        raise CommandError(
            f"The archive is no Keras model, as it lacks config.json: {_SAVE}. Received: {file}"
        )
    if is_tf_keras_file(file):
        return
    for layer in _layers_with_code(json.loads(config)):
        raise CommandError(
            f"Lambda layer {layer!r} holds Python code, which is not run from a file. Put a class "
            "of your own in its place and name its module by --import; or, if you trust the file, "
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


def load_model(path: str, own: Mapping[str, Any] | None = None):
    """Load a .keras or .h5 file, of Keras 3 or tf_keras, without running code that it may hold.

    Args:
        path: the file.
        own: the user's classes and functions, by name.

    Raises:
        CommandError: it is no model's file, or names a class that is not known.
    """
    require_model_file(path)
    import keras

    import tfcompress  # noqa: F401  (registers the classes that the file may name)
    from tfcompress.legacy.files import is_tf_keras_file, load_tf_keras

    if is_tf_keras_file(path):
        return load_tf_keras(path)
    try:
        return keras.saving.load_model(path, custom_objects=dict(own or {}), compile=False)
    except TypeError as error:
        unknown = _unknown_class(str(error))
        if unknown is None:
            raise
        raise CommandError(
            f"The model has a layer or function of your own, {unknown}, that Keras does not know: "
            f"name the module that defines it, such as --import own_layers. Received: {path}"
        ) from error


def _unknown_class(message: str) -> str | None:
    """Find the name in Keras's error about a class that it cannot locate."""
    for head in ("Could not locate class '", "Could not locate function '"):
        if head in message:
            return message.rpartition(head)[2].partition("'")[0]
    return None


def image_shape(model) -> tuple[int, int, int] | None:
    """Return height, width and channels of a model's input, if it is an image."""
    from tfcompress.keras_graph.wrapper import unwrap

    declared = getattr(unwrap(model), "inputs", None) or ()
    return shape_of_image([tuple(tensor.shape) for tensor in declared])


def image_shape_of_file(file: str | os.PathLike) -> tuple[int, int, int] | None:
    """Return height, width and channels of a .tflite file's input, if it is an image."""
    from exporters import inspect

    return shape_of_image([tensor.shape for tensor in inspect(file).inputs])


def shape_of_image(shapes: list[tuple[int | None, ...]]) -> tuple[int, int, int] | None:
    """Return height, width and channels where there is one input, an image of a known size."""
    if len(shapes) != 1 or len(shapes[0]) != 4:
        return None
    height, width, channels = shapes[0][1:]
    known = (height or 0) > 0 and (width or 0) > 0 and channels in _PIXELS
    return (height, width, channels) if known else None
