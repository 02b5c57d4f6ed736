"""Telling tf_keras models without importing tf_keras.

An object of a library can only exist where the library has been imported already.
"""

import sys

from tfcompress.compat.tf_keras_models import all_layers, is_quantizing


def is_tf_keras_model(candidate) -> bool:
    """Tell whether an object is a model of tf_keras."""
    module = sys.modules.get("tf_keras")
    return module is not None and isinstance(candidate, module.Model)


def has_learnt_ranges(model) -> bool:
    """Tell whether a tf_keras model is what TFMOT's quantization-aware training works on."""
    return any(is_quantizing(layer) for layer in all_layers(model))
