"""Post-training optimization: better integers from a trained model and unlabelled data."""

import lazy_loader

from tfcompress.on_tensorflow import with_calls_on_tensorflow

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

_OPTIMIZATIONS = ("correct_biases", "equalize", "repair", "round_weights")
_STATISTICS = ("fold_batch_normalization", "reestimate_batch_normalization")
__getattr__ = with_calls_on_tensorflow(
    __getattr__,
    dict.fromkeys(_OPTIMIZATIONS, "tfcompress.post_training.optimization")
    | {"prune_weights": "tfcompress.post_training.weight_pruning"}
    | dict.fromkeys(_STATISTICS, "tfcompress.post_training.batch_normalization"),
)
