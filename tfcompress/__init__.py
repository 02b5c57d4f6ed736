"""Prune, quantize and distil Keras 3 models during ``fit``, for phones and boards.

Importing this package loads neither TensorFlow nor Keras: each name is imported when it is first
used.
"""

import importlib

import lazy_loader
import wrapt

from tfcompress.deprecation import with_old_names

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "clustering": [
            "DifferentiableKMeans",
            "cluster_summary",
            "cluster_weights",
            "release_clusters",
            "unique_weights",
        ],
        "distillation": [
            "FSP",
            "AttentionTransfer",
            "Distiller",
            "Features",
            "HardLabels",
            "LogitsMSE",
            "Relational",
            "SoftLabels",
            "TeacherCache",
            "cache_teacher",
        ],
        "legacy": ["NoEquivalentError", "from_tf_keras", "load_tf_keras"],
        "post_training": [
            "correct_biases",
            "equalize",
            "reestimate_batch_normalization",
            "repair",
            "round_weights",
        ],
        "pruning": [
            "Block",
            "Channel",
            "ConstantSparsity",
            "CosineDecay",
            "Element",
            "ExponentialDecay",
            "NofM",
            "OneCycle",
            "PolynomialDecay",
            "remove_masks",
        ],
        "pruning.blocks": ["remove_blocks"],
        "pruning.channels": ["prune_iteratively", "remove_channels"],
        "pruning.gates": ["gated"],
        "quantization": ["PlacementError", "Scheme", "quantize_aware"],
        "report": ["examine", "write_report"],
        "search": ["choose_precisions", "compress", "sensitivity"],
        "workers": ["BackupAcrossWorkers", "train_across_workers"],
    },
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


@wrapt.when_imported("keras")
def _register_serializable_classes(_keras):
    """Let ``keras.saving.load_model`` find our classes, whichever package is imported first."""
    for module in _SERIALIZABLE:
        importlib.import_module(module)
