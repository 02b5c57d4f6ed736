"""Prune, quantize and distil Keras 3 models during ``fit``, for phones and boards.

Importing this package loads neither TensorFlow nor Keras: each name is imported when it is first
used.
"""

import importlib
from typing import Any

import lazy_loader

from tfcompress.after_import import after_import
from tfcompress.deprecation import with_old_names
from tfcompress.extras import missing_extra
from tfcompress.on_tensorflow import refused

__version__ = "0.1.0"

_attribute, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
_BESIDE = ("exporters", "keras_callbacks")
_BACKENDS = ("jax", "torch")  # of Keras, besides TensorFlow


def __getattr__(name: str) -> Any:
    """Import a public name of this package, or of the two beside it."""
    if name not in __all__:
        # By name, when asked: the packages beside this one import it.
        for package in map(importlib.import_module, _BESIDE):
            if name in vars(package).get("__all__", ()):
                return getattr(package, name)
    try:
        return _attribute(name)
    except ModuleNotFoundError as missing:
        if missing.name in _BACKENDS:
            purpose = f"KERAS_BACKEND={missing.name}"
            raise ImportError(missing_extra(purpose, missing.name)) from missing
        raise


def __dir__() -> list[str]:
    """Return the public names of all three packages."""
    beside = map(importlib.import_module, _BESIDE)
    return sorted({"__version__", *__all__}.union(*(package.__all__ for package in beside)))


_WORKERS = "its workers are those of tf.distribute"
__getattr__ = refused(
    __getattr__, {"BackupAcrossWorkers": _WORKERS, "train_across_workers": _WORKERS}
)
__getattr__ = with_old_names(__name__, __getattr__, {"NoTwinError": "NoEquivalentError"})


_SERIALIZABLE = (
    "tfcompress.clustering.constraint",
    "tfcompress.clustering.differentiable",
    "tfcompress.distillation",
    "tfcompress.legacy.equivalents",
    "tfcompress.pruning.criteria",
    "tfcompress.pruning.gates",
    "tfcompress.pruning.masks",
    "tfcompress.pruning.patterns",
    "tfcompress.pruning.schedules",
    "tfcompress.quantization.quantize_aware",
)


def _require_supported():
    """Refuse releases of Keras and TensorFlow that this package does not work with."""
    from tfcompress.compat.versions import require_supported

    require_supported()


def _register_serializable_classes():
    """Let ``keras.saving.load_model`` find our classes, whichever package is imported first."""
    from tfcompress.backends import runs_on
    from tfcompress.compat.keras_saving import know_optimizers_of_torch

    if not runs_on("torch"):
        know_optimizers_of_torch()
    for module in _SERIALIZABLE:
        importlib.import_module(module)


after_import("keras", _require_supported)
after_import("keras", _register_serializable_classes, ("tfcompress", *_BESIDE))
