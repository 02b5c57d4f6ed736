"""Telling tf_keras models, and the layers that TFMOT puts around theirs, without importing either.

An object of a library can only exist where the library has been imported already.
"""

import sys

_PRUNING = ("PruneLowMagnitude",)
_CLUSTERING = ("ClusterWeights",)
_QUANTIZING = ("QuantizeWrapper", "QuantizeLayer")


def is_tf_keras_model(candidate) -> bool:
    """Tell whether an object is a model of tf_keras."""
    module = sys.modules.get("tf_keras")
    return module is not None and isinstance(candidate, module.Model)


def input_structure(model):
    """Return the inputs of a tf_keras model as it takes them."""
    structure = getattr(model, "_nested_inputs", None)
    return model.inputs[0] if structure is None else structure  # a Sequential


def is_pruned(layer) -> bool:
    """Tell whether a tf_keras layer is TFMOT's wrapper that prunes another."""
    return _is_of_tfmot(layer, _PRUNING)


def is_clustered(layer) -> bool:
    """Tell whether a tf_keras layer is TFMOT's wrapper that clusters another's weights."""
    return _is_of_tfmot(layer, _CLUSTERING)


def has_learnt_ranges(model) -> bool:
    """Tell whether a tf_keras model is what TFMOT's quantization-aware training works on."""
    return any(_is_of_tfmot(layer, _QUANTIZING) for layer in model._flatten_layers())


def _is_of_tfmot(layer, names) -> bool:
    return any(
        base.__name__ in names and base.__module__.startswith("tensorflow_model_optimization.")
        for base in type(layer).__mro__
    )
