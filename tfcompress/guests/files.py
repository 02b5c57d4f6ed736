"""Files that tf_keras has saved, with what TFMOT has put into them."""

import contextlib
import importlib
import os
import pathlib
import re
import zipfile
import zlib
from collections.abc import Iterator

from tfcompress.extras import missing_extra

_OF_TFMOT = re.compile(r'"(PruneLowMagnitude|ClusterWeights|Quantize(?:Wrapper(?:V2)?|Layer))"')

_MOST_BYTES = 64 << 20
# What reading an archive from anywhere raises beside an OSError.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def is_tf_keras_file(path: str | os.PathLike) -> bool:
    """Tell whether a file is one that tf_keras (Keras 2) has saved.

    Args:
        path: a .keras or .h5 file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or describes itself in more than 64 MiB.
    """
    version = re.search(r'"?keras_version"?[^0-9]*([0-9]+)\.', _description(pathlib.Path(path)))
    return version is not None and version[1] == "2"


def load_tf_keras(path: str | os.PathLike):
    """Load a model that tf_keras has saved, TFMOT's wrappers included.

    TFMOT is imported only if the file names a layer of it.

    Args:
        path: a .keras or .h5 file.

    Returns:
        A tf_keras model, not compiled.

    Raises:
        ImportError: tf_keras, or the TFMOT that the file needs, is not installed.
        OSError: there is no such file.
        ValueError: it does not hold a model, or one with layers of classes that are not known.

    Example:
    ```python
    model = tfc.from_tf_keras(tfc.load_tf_keras("pruned.h5"))
    ```
    """
    path = pathlib.Path(path)
    tf_keras = _imported("tf_keras", path, "tf_keras has saved it")
    wrapped = _OF_TFMOT.search(_description(path))
    scopes = _scopes_of_tfmot(path, wrapped[1]) if wrapped else ()
    with contextlib.ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(scope)
        return tf_keras.models.load_model(path, compile=False)


def _scopes_of_tfmot(path, layer):
    with _unchanged("TF_USE_LEGACY_KERAS"):  # which importing TFMOT sets
        tfmot = _imported("tensorflow_model_optimization", path, f"it holds a {layer}")
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
            f"{missing_extra(f'{path}: {reason}, and reading it', 'tfmot')}. Received: {error}"
        ) from error


@contextlib.contextmanager
def _unchanged(variable: str) -> Iterator[None]:
    before = os.environ.get(variable)
    try:
        yield
    finally:
        os.environ.pop(variable, None)
        if before is not None:
            os.environ[variable] = before


def _description(path: pathlib.Path) -> str:
    """Return what a file says of its version and its layers, as JSON."""
    if zipfile.is_zipfile(path):
        return "".join(_packed(path).values())
    import h5py

    with h5py.File(path) as file:
        version = f'"keras_version": "{file.attrs.get("keras_version", "")}"'
        return version + str(file.attrs.get("model_config", ""))


def packed_config(path: str | os.PathLike) -> str | None:
    """Read what a .keras archive says of its layers.

    Args:
        path: a zip archive.

    Returns:
        The JSON of the model's configuration; None where the archive has none.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or describes itself in more than 64 MiB.
    """
    return _packed(pathlib.Path(path)).get("config.json")


def _packed(path: pathlib.Path) -> dict[str, str]:
    texts = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(set(archive.namelist()) & {"metadata.json", "config.json"}):
                with archive.open(name) as file:
                    content = file.read(_MOST_BYTES + 1)
                if len(content) > _MOST_BYTES:
                    raise ValueError(f"{name} unpacks to more than {_MOST_BYTES >> 20} MiB")
                texts[name] = content.decode()
    except _DAMAGE as error:
        raise ValueError(f"Not a sound .keras file: {error}. Received: {path}") from error
    return texts
