"""The inputs of a Keras model: their specifications, and their structure."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfcompress.compat.keras_graphs import input_structure
from tfcompress.keras_graph.wrapper import unwrap


def input_specs(model: keras.Model, batch_size: int | None = 1) -> list[tf.TensorSpec]:
    """Describe what a model's inference function takes.

    Args:
        model: a built Keras model.
        batch_size: the fixed batch size, or ``None`` for one that is free at run time.

    Returns:
        One spec per input, in the order of ``model.inputs``, named after them.

    Raises:
        ValueError: the model has no declared inputs, or a dimension besides the batch is unknown.
    """
    inputs = getattr(unwrap(model), "inputs", None)
    if not inputs:
        raise ValueError(
            f"Model {model.name!r} does not declare its inputs, so their shapes are not known. "
            "Call the layers on `keras.Input` objects and make a `keras.Model` of the result."
        )
    specs = []
    for tensor in inputs:
        shape = tuple(tensor.shape)
        if None in shape[1:]:
            raise ValueError(
                f"Input {tensor.name!r} of model {model.name!r} has an unknown dimension besides "
                f"the batch, and a deployed model needs fixed ones. Received: shape={shape}"
            )
        specs.append(tf.TensorSpec((batch_size, *shape[1:]), tensor.dtype, tensor.name))
    return specs


def arrange_inputs(model: keras.Model, tensors: Sequence):
    """Arrange one tensor per input as the user's model takes them: bare, as a list or as a dict."""
    structure = input_structure(unwrap(model))
    if structure is None:
        return tensors[0] if len(tensors) == 1 else list(tensors)
    return keras.tree.pack_sequence_as(structure, list(tensors))
