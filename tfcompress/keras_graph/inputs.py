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
            fixed = tuple(64 if size is None else size for size in shape[1:])
            raise ValueError(
                f"Input {tensor.name!r} of model {model.name!r} has an unknown dimension besides "
                "the batch, and a deployed model needs fixed ones. Fix them by a model around it: "
                f"`inputs = keras.Input({fixed})`, then `keras.Model(inputs, model(inputs))`; both "
                f"share their weights. Received: shape={shape}"
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


def standardized_inputs(model: keras.Model, inputs: Any, data_name: str = "inputs") -> Any:
    """Return a batch in the structure, order and ranks that the user's model has.

    Keras does that inside its own models. ``data_name`` is what errors call the batch.
    """
    return arrange_inputs(model, ordered_inputs(model, inputs, data_name))


def ordered_inputs(model: keras.Model, inputs: Any, data_name: str = "inputs") -> list:
    """Return what Keras takes for a batch as one array or tensor per input of a model.

    Examples of one number may have a last axis of size 1 or not.
    """
    tensors, declared = in_order(model, inputs, data_name), unwrap(model).inputs
    if len(tensors) != len(declared):
        raise ValueError(
            f"Model {model.name!r} takes {len(declared)} inputs, {[x.name for x in declared]}, "
            "each an array of all examples; `np.stack` makes one of a list of examples. "
            f"Received: {len(tensors)} in the {data_name}"
        )
    ordered = []
    for given, wanted in zip(tensors, declared, strict=True):
        tensor, found, shape = given, _shape(given), tuple(wanted.shape)[1:]
        if found and len(found) == len(shape) + 2 and found[-1] == 1:
            tensor = given[..., 0]
        elif found and len(found) == len(shape) and shape[-1:] == (1,):
            tensor = given[..., None]
        if not _may_have_shape(tensor, (None, *shape)):
            hint = " Batch the dataset, or add an axis." if _may_have_shape(given, shape) else ""
            raise ValueError(
                f"The {data_name} for input {wanted.name!r} of model {model.name!r} needs the "
                f"shape (examples, {', '.join(map(str, shape))}).{hint} Received: {found}"
            )
        ordered.append(tensor)
    return ordered


def in_order(model: keras.Model, tensors: Any, data_name: str = "inputs") -> list:
    """Return the tensors for a model's inputs, or their masks, in its order.

    Names decide where there are names: Keras takes a dict for a list of inputs, too, and leaves out
    what else the dict holds.
    """
    names = [tensor.name for tensor in unwrap(model).inputs]
    structure = input_structure(unwrap(model))
    keys = list(structure) if isinstance(structure, Mapping) else names
    if isinstance(tensors, Mapping):
        if keys is not names and set(keys) <= set(tensors):
            tensors = {key: tensors[key] for key in keys}
        elif set(names) <= set(tensors):
            tensors = [tensors[name] for name in names]
        else:
            raise ValueError(
                f"Model {model.name!r} takes the inputs {keys}. "
                f"Received: {list(tensors)} in the {data_name}"
            )
    elif keys is not names and len(keys) == len(names) and keys != sorted(keys):
        raise ValueError(
            f"Model {model.name!r} takes a dict of inputs, {keys}: pass a dict, so that none is "
            f"taken for another. Received: {data_name} of type {type(tensors).__name__}"
        )
    return keras.tree.flatten(tensors)


def _may_have_shape(tensor, shape) -> bool:
    """Tell whether a tensor may have a shape; sizes of None are not known, here or there."""
    known = _shape(tensor)
    if known is None:
        return True
    return len(known) == len(shape) and all(
        None in sizes or sizes[0] == sizes[1] for sizes in zip(known, shape, strict=True)
    )


def _shape(tensor):
    """Return the shape of a tensor, None where a graph does not know its rank."""
    try:
        return tuple(tensor.shape) if hasattr(tensor, "shape") else np.shape(tensor)
    except ValueError:
        return None


def checked_inputs(
    model: keras.Model, inputs, data_name: str, casting: str = "same_kind"
) -> list[np.ndarray]:
    """Return data as one array per input of a model: its number, shapes, types and values checked.

    ``data_name`` is what errors call the data; ``casting`` which types may become the model's, see
    ``np.can_cast``.
    """
    specs = input_specs(model)
    arrays = [np.asarray(array) for array in ordered_inputs(model, inputs, data_name)]
    for array, spec in zip(arrays, specs, strict=True):
        where = f"The {data_name} for input {spec.name!r} of model {model.name!r}"
        dtype = np.dtype(spec.dtype.as_numpy_dtype)
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
