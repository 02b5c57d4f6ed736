"""The inside of models of tf_keras (Keras 2), and the wrappers that TFMOT puts around layers.

Neither library is imported: an object of a library can only exist where it has been imported.
"""

import sys
from collections.abc import Iterator
from typing import Any

_PRUNING = ("PruneLowMagnitude",)
_CLUSTERING = ("ClusterWeights",)
_QUANTIZING = ("QuantizeWrapper", "QuantizeLayer")


def all_layers(model: Any, include_self: bool = True) -> Iterator:
    """Yield the layers inside a tf_keras layer or model, nested ones too."""
    yield from model._flatten_layers(include_self=include_self)


def own_weights(layer: Any) -> tuple:
    """Return the weights that a tf_keras layer has made itself."""
    return (*layer._trainable_weights, *layer._non_trainable_weights)


def has_graph(model: Any) -> bool:
    """Tell whether a tf_keras model is Functional or Sequential, and not subclassed."""
    return model._is_graph_network


def input_layers(model: Any) -> list:
    """Return the input layers of a Functional tf_keras model, in the order of ``model.inputs``."""
    return model._input_layers


def input_structure(model: Any) -> Any:
    """Return the inputs of a tf_keras model as it takes them."""
    structure = getattr(model, "_nested_inputs", None)
    return model.inputs[0] if structure is None else structure  # a Sequential


def output_structure(model: Any) -> Any:
    """Return the outputs of a Functional tf_keras model as it returns them."""
    return model._nested_outputs


def nodes_in_order(model: Any) -> Iterator:
    """Yield the calls in a Functional tf_keras model, in an order in which they can be made.

    Each has ``layer``, ``call_args``, ``call_kwargs`` and ``outputs``.
    """
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if not node.is_input:
                yield node


def is_pruned(layer: Any) -> bool:
    """Tell whether a tf_keras layer is TFMOT's wrapper that prunes another."""
    return _is_of_tfmot(layer, _PRUNING)


def is_tf_keras_model(candidate: Any) -> bool:
    """Tell whether an object is a model of tf_keras, which is not imported for it."""
    module = sys.modules.get("tf_keras")
    return module is not None and isinstance(candidate, module.Model)


def is_clustered(layer: Any) -> bool:
    """Tell whether a tf_keras layer is TFMOT's wrapper that clusters another's weights."""
    return _is_of_tfmot(layer, _CLUSTERING)


def is_quantizing(layer: Any) -> bool:
    """Tell whether a tf_keras layer is one of TFMOT's quantization-aware training."""
    return _is_of_tfmot(layer, _QUANTIZING)


def _is_of_tfmot(layer: Any, names: Any) -> bool:
    return any(
        base.__name__ in names and base.__module__.startswith("tensorflow_model_optimization.")
        for base in type(layer).__mro__
    )
