"""Functional models as graphs: which call made which tensor.

A *node* is one call of an operation: ``operation``, ``input_tensors``, ``outputs``, ``arguments``
and ``is_input``.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras.src.backend import compute_output_spec


def has_graph(model: Any) -> bool:
    """Tell whether a model or layer is Functional; a Sequential model only holds one that is."""
    return hasattr(model, "_nodes_by_depth")


def functional_of(model: keras.Model) -> keras.Model | None:
    """Return the Functional model in a Sequential one, or any other model itself.

    None for a Sequential model without a declared input.
    """
    return model._functional if isinstance(model, keras.Sequential) else model


def nodes_in_order(functional: keras.Model) -> Iterator:
    """Yield the nodes of a Functional model, in an order in which they can be called."""
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            if not node.is_input and node.operation:
                yield node


def produced_by(tensor: Any) -> Any:
    """Return what made a symbolic tensor: ``operation``, ``node_index`` and ``tensor_index``."""
    return tensor._keras_history


def producing_node(tensor: Any) -> Any:
    """Return the node that made a symbolic tensor."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def nodes_of(operation: keras.Operation) -> list:
    """Return the nodes of an operation: its calls on symbolic tensors, in their order."""
    return operation._inbound_nodes


def forget_nodes(operation: keras.Operation) -> None:
    """Let an operation that was copied have no calls of its own, and leave the original's alone."""
    operation._inbound_nodes, operation._outbound_nodes = [], []


def input_structure(model: keras.Model) -> Any:
    """Return the inputs as the model takes them; None where its constructor did not say."""
    return getattr(model, "_inputs_struct", None)


def output_structure(model: keras.Model) -> Any:
    """Return the outputs as a Functional or Sequential model returns them; None for others."""
    return getattr(functional_of(model) or model, "_outputs_struct", None)


def standardize_inputs(functional: keras.Model, inputs: Any) -> list:
    """Return a batch as the flat tensors that a Functional model computes with: ranks and types."""
    return functional._standardize_inputs(inputs)


def keras_mask(tensor: Any) -> Any:
    """Return the mask that a layer has attached to a tensor, or None."""
    return getattr(tensor, "_keras_mask", None)


def output_spec(function: Callable, *inputs: Any) -> Any:
    """Return the shapes and dtypes of a function's outputs as symbolic tensors, computing nothing.

    Args:
        function: takes and returns structures of tensors.
        *inputs: symbolic tensors, as of ``keras.Input``; axes of unknown size may be None.
    """
    return compute_output_spec(function, *inputs)
