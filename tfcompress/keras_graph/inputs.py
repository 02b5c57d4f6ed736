"""The inputs of a Keras model: their specifications, their structure, and data checked for them."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfcompress.compat.keras_graphs import input_structure
from tfcompress.keras_graph.wrapper import unwrap


def input_specs(model: keras.Model, batch_size: int | None = 1) -> list[Any]:
    """Describe, for TensorFlow, what a model's inference takes; floats of any size as float32."""
    import tensorflow as tf  # not at the top: inputs are arranged on other backends, too

    inputs = getattr(unwrap(model), "inputs", None)
    if not inputs:
        raise ValueError(
            f"Model {model.name!r} does not declare its inputs, so their shapes are not known. "
            "Make a model of it that does: `inputs = keras.Input(shape)`, then "
            "`keras.Model(inputs, model(inputs))`; both share their weights."
        )
    specs = []
    for tensor in inputs:
        shape = tuple(tensor.shape)
        if None in shape[1:]:
            raise ValueError(
                f"Input {tensor.name!r} of model {model.name!r} has an unknown dimension besides "
                f"the batch, and a deployed model needs fixed ones. Received: shape={shape}"
            )
        dtype = "float32" if keras.backend.is_float_dtype(tensor.dtype) else tensor.dtype
        specs.append(tf.TensorSpec((batch_size, *shape[1:]), dtype, tensor.name))
    return specs


def arrange_inputs(model: keras.Model, tensors: Sequence):
    """Arrange one tensor per input as the user's model takes them: bare, as a list or as a dict."""
    structure = input_structure(unwrap(model))
    if structure is None:
        return tensors[0] if len(tensors) == 1 else list(tensors)
    return keras.tree.pack_sequence_as(structure, list(tensors))


def checked_inputs(
    model: keras.Model, inputs, data_name: str, casting: str = "same_kind"
) -> list[np.ndarray]:
    """Return data as one array per input of a model: its number, shapes, types and values checked.

    ``data_name`` is what errors call the data; ``casting`` which types may become the model's, see
    ``np.can_cast``.
    """
    specs = input_specs(model)
    names = [spec.name for spec in specs]
    if isinstance(inputs, Mapping) and set(inputs) == set(names):
        inputs = [inputs[name] for name in names]
    arrays = [np.asarray(array) for array in keras.tree.flatten(inputs)]
    if len(arrays) != len(names):
        raise ValueError(
            f"Model {model.name!r} takes {len(names)} inputs, {names}, each an array of all "
            "examples; `np.stack` makes one of a list of examples. "
            f"Received: {len(arrays)} in the {data_name}"
        )
    for array, spec in zip(arrays, specs, strict=True):
        where = f"The {data_name} for input {spec.name!r} of model {model.name!r}"
        shape, dtype = tuple(spec.shape[1:]), np.dtype(spec.dtype.as_numpy_dtype)
        if array.ndim == 0 or array.shape[1:] != shape:
            raise ValueError(
                f"{where} needs the shape (examples, {', '.join(map(str, shape))}). "
                f"Received: {array.shape}"
            )
        if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, dtype, casting):
            raise ValueError(
                f"{where} needs numbers that {dtype} can hold. Received: {array.dtype}"
            )
        if not np.isfinite(array).all():
            raise ValueError(
                f"{where} has NaN or infinite values. Remove these examples. "
                f"Received: {np.count_nonzero(~np.isfinite(array))} such values"
            )
    if len({len(array) for array in arrays}) > 1:
        raise ValueError(
            "Every input needs the same number of examples. "
            f"Received: {data_name} of shapes {[array.shape for array in arrays]}"
        )
    return arrays
