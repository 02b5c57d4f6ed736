"""Reads model files that tf_keras has saved, TFMOT's wrappers included."""

import contextlib
import importlib
import os
import pathlib
import re
import zipfile
import zlib
from typing import Any

from tfcompress.extras import missing_extra

_TFMOT_LAYER = re.compile(r'"(PruneLowMagnitude|ClusterWeights|Quantize(?:Wrapper(?:V2)?|Layer))"')

_MAX_BYTES = 64 << 20
# What reading an archive from anywhere raises beside an OSError.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def is_tf_keras_file(path: str | os.PathLike) -> bool:
    """Tell whether tf_keras (Keras 2) has saved a .keras or .h5 file."""
    version = re.search(r'"?keras_version"?[^0-9]*([0-9]+)\.', _description(pathlib.Path(path)))
    return version is not None and version[1] == "2"


def load_tf_keras(path: str | os.PathLike) -> Any:
    """Load a model that tf_keras has saved, TFMOT's wrappers included.

    TFMOT is imported only if the file names a layer of it.

    Args:
        path: a .keras or .h5 file.

    Returns:
        A tf_keras model, not compiled.

    Raises:
        ImportError: tf_keras, or the TFMOT that the file needs, is not installed.
        OSError: there is no such file.
        ValueError: it does not hold a model, or the model has layers of unknown classes.

    Example:
    ```python
    model = tfc.from_tf_keras(tfc.load_tf_keras("pruned.h5"))
    ```
    """
    path = pathlib.Path(path)
    tf_keras = _imported("tf_keras", path, "tf_keras has saved it")
    wrapped = _TFMOT_LAYER.search(_description(path))
    scopes = _tfmot_scopes(path, wrapped[1]) if wrapped else ()
    with contextlib.ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(scope)
        return tf_keras.models.load_model(path, compile=False)


def _tfmot_scopes(path, layer):
    name = "tensorflow_model_optimization"
    legacy_keras = os.environ.get("TF_USE_LEGACY_KERAS")
    try:
        tfmot = _imported(name, path, f"it contains a {layer} layer")
    finally:  # importing TFMOT sets the variable
        os.environ.pop("TF_USE_LEGACY_KERAS", None)
        if legacy_keras is not None:
            os.environ["TF_USE_LEGACY_KERAS"] = legacy_keras
    return (
        tfmot.sparsity.keras.prune_scope(),
        tfmot.clustering.keras.cluster_scope(),
        tfmot.quantization.keras.quantize_scope(),
    )


def _imported(name: str, path, reason: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{missing_extra(f'{path} ({reason})', 'tfmot')}. Received: {error}"
        ) from error


def _description(path: pathlib.Path) -> str:
    """Return the version of Keras and the layers that a file names, as JSON."""
    if zipfile.is_zipfile(path):
        return "".join(_packed(path).values())
    import h5py

    with h5py.File(path) as file:
        version = f'"keras_version": "{file.attrs.get("keras_version", "")}"'
        return version + str(file.attrs.get("model_config", ""))


def packed_config(path: str | os.PathLike) -> str | None:
    """Return the JSON of the model's configuration in a .keras archive; None if it has none."""
    return _packed(pathlib.Path(path)).get("config.json")


def _packed(path: pathlib.Path) -> dict[str, str]:
    texts = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(set(archive.namelist()) & {"metadata.json", "config.json"}):
                with archive.open(name) as file:
                    content = file.read(_MAX_BYTES + 1)
                if len(content) > _MAX_BYTES:
                    raise ValueError(f"{name} unpacks to more than {_MAX_BYTES >> 20} MiB")
                texts[name] = content.decode()
    except _DAMAGE as error:
        raise ValueError(f"The .keras file is damaged: {error}. Received: {path}") from error
    return texts
