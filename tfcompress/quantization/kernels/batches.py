"""How an operation of a file that is made for a batch of 1 runs on more items.

A tensor of N items holds the N tensors that the file would compute, one after the other: its
leading dimension is N times the file's, whatever that dimension means. Most operations leave the
leading dimension alone and need no care. Those that move, cut, join or broadcast along it
(unrolled recurrent layers do, where the converter turned a transposition of a batch of 1 into a
reshape) run on tensors with one more dimension in front, the batch.

``completed`` notes in an operation's options the shapes that this takes.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfcompress.quantization.kernels.grids import Integers
from tfcompress.tflite.model import Operation, Tensor

Input = tf.Tensor | Integers | None


def completed(operation: Operation, tensors: Sequence[Tensor]) -> Operation:
    """Add to an operation's options what only the tensors around it say."""
    options = dict(operation.options)
    options["input_shapes"] = tuple(
        tensors[index].shape if index >= 0 else None for index in operation.inputs
    )
    options["output_shapes"] = tuple(tensors[index].shape for index in operation.outputs)
    options["output_types"] = tuple(tensors[index].dtype for index in operation.outputs)
    return dataclasses.replace(operation, options=options)


def run(
    kernel: Callable[[Operation, list[Input]], list[tf.Tensor]],
    operation: Operation,
    inputs: list[Input],
) -> list[tf.Tensor]:
    """Run an operation on tensors of any number of items."""
    rule = _RULES.get(operation.name)
    shapes = operation.options["input_shapes"]
    batched = [_is_batched(*entry) for entry in zip(inputs, shapes, strict=True)]
    change = rule(operation, inputs, batched) if rule and any(batched) else None
    if change is None:
        return kernel(operation, inputs)
    options, inputs = change
    kept = ("input_shapes", "output_shapes")
    options = {key: value for key, value in options.items() if key not in kept}
    results = kernel(dataclasses.replace(operation, options=options), inputs)
    shapes = operation.options["output_shapes"]
    return [
        tf.reshape(result, [-1, *shape[1:]]) for result, shape in zip(results, shapes, strict=True)
    ]


def _tensor(entry):
    """The plain tensor of an input."""
    return entry.values if isinstance(entry, Integers) else entry


def _is_batched(entry, shape):
    """Whether an input may hold other than one item."""
    if entry is None or not shape:
        return False
    return _tensor(entry).shape[0] != shape[0]


def _apart(entry, shape, rank=None):
    """Give the batch a dimension of its own, and ones behind it up to a rank."""
    ones = [1] * ((rank or len(shape)) - len(shape))
    values = tf.reshape(_tensor(entry), [-1, *ones, *shape])
    return entry._replace(values=values) if isinstance(entry, Integers) else values


def _all_apart(operation, inputs, places):
    """Give some inputs a dimension for the batch."""
    shapes = operation.options["input_shapes"]
    return [
        _apart(entry, shapes[place]) if place in places else entry
        for place, entry in enumerate(inputs)
    ]


def _constant(entry):
    """Read a constant input, None if it is computed."""
    value = tf.get_static_value(_tensor(entry))
    return None if value is None else np.asarray(value)


def _shifted(axes, rank):
    """Count axes one further, from the front."""
    return np.asarray(axes) % rank + 1


def _axis_option(default):
    """Rule for an axis among the options: CONCATENATION, PACK, UNPACK."""

    def rule(operation, inputs, batched):
        shape = operation.options["input_shapes"][0]
        rank = len(shape) + (operation.name == "PACK")
        axis = operation.options.get("axis", default) % rank
        if axis:
            return None
        options = {**operation.options, "axis": axis + 1}
        return options, _all_apart(operation, inputs, range(len(inputs)))

    return rule


def _gather(operation, inputs, batched):
    """Rule for GATHER out of data along the leading dimension."""
    options = operation.options
    rank = len(options["input_shapes"][0])
    axis = options.get("axis", 0) % max(rank, 1)
    batch_dims = options.get("batch_dims", 0)
    if not batched[0] or (axis and not batched[1]) or batch_dims:
        return None
    both = batched[1]
    places = [0, 1] if both else [0]
    inputs = _all_apart(operation, inputs, places)
    return {**options, "axis": axis + 1, "batch_dims": int(both)}, inputs


def _axis_input(data, place):
    """Rule for axes that are an input: reductions, SPLIT, CUMSUM and others."""

    def rule(operation, inputs, batched):
        axes, rank = _constant(inputs[place]), len(operation.options["input_shapes"][data])
        if axes is None or np.all(axes % rank):
            return None
        inputs = _all_apart(operation, inputs, [data])
        inputs[place] = tf.constant(_shifted(axes, rank), inputs[place].dtype)
        return dict(operation.options), inputs

    return rule


def _transpose(operation, inputs, batched):
    """Rule for TRANSPOSE."""
    order = _constant(inputs[1])
    if order[0] == 0:
        return None
    inputs = _all_apart(operation, inputs, [0])
    order = np.append(0, _shifted(order, len(order)))
    return dict(operation.options), [inputs[0], tf.constant(order, tf.int32)]


def _pad(operation, inputs, batched):
    """Rule for PAD, PADV2 and MIRROR_PAD."""
    around = _constant(inputs[1])
    if around is None or not around[0].any():
        return None
    inputs = _all_apart(operation, inputs, [0])
    inputs[1] = tf.constant(np.concatenate([[[0, 0]], around]), tf.int32)
    return dict(operation.options), inputs


def _tile(operation, inputs, batched):
    """Rule for TILE."""
    times = _constant(inputs[1])
    if times is None or times[0] == 1:
        return None
    inputs = _all_apart(operation, inputs, [0])
    return dict(operation.options), [inputs[0], tf.constant(np.append(1, times), tf.int32)]


def _slice(operation, inputs, batched):
    """Rule for SLICE: never count the items."""
    begin, size = _constant(inputs[1]), _constant(inputs[2])
    if begin is None or size is None or not batched[0]:
        return None
    begin, size = np.append(0, begin), np.append(-1, size)
    inputs = _all_apart(operation, inputs, [0])
    ends = (tf.constant(entry, tf.int32) for entry in (begin, size))
    return dict(operation.options), [inputs[0], *ends]


def _strided_slice(operation, inputs, batched):
    """Rule for STRIDED_SLICE: never count the items."""
    entries = [_constant(entry) for entry in inputs[1:]]
    if not batched[0] or any(entry is None for entry in entries):
        return None
    inputs = _all_apart(operation, inputs, [0])
    entries = [np.append(first, entry) for first, entry in zip((0, 0, 1), entries, strict=True)]
    options = dict(operation.options)
    for mask in ("begin_mask", "end_mask"):
        options[mask] = options.get(mask, 0) << 1 | 1
    for mask in ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask"):
        options[mask] = options.get(mask, 0) << 1
    return options, [inputs[0], *(tf.constant(entry, tf.int32) for entry in entries)]


def _broadcast_to(operation, inputs, batched):
    """Rule for BROADCAST_TO."""
    target = operation.options["output_shapes"][0]
    value = _apart(inputs[0], operation.options["input_shapes"][0], len(target))
    shape = tf.concat([tf.shape(_tensor(value))[:1], tf.constant(target, tf.int32)], 0)
    return dict(operation.options), [value, shape]


def _broadcasting(operation, inputs, batched):
    """Rule for operations of tensors that broadcast, where leading dimensions do not line up."""
    target = operation.options["output_shapes"][0]
    shapes = operation.options["input_shapes"]
    lined_up = [
        len(shape) == len(target) and shape[0] == target[0]
        if is_batched
        else len(shape) < len(target) or shape[:1] == (1,) or not shape
        for shape, is_batched in zip(shapes, batched, strict=True)
    ]
    if all(lined_up):
        return None
    entries = zip(inputs, shapes, strict=True)
    return dict(operation.options), [_apart(*entry, len(target)) for entry in entries]


_RULES: dict[str, Callable[[Operation, list[Input], list[bool]], Any]] = {
    "CONCATENATION": _axis_option(0),
    "PACK": _axis_option(0),
    "UNPACK": _axis_option(0),
    "GATHER": _gather,
    "SPLIT": _axis_input(1, 0),
    "SPLIT_V": _axis_input(0, 2),
    "TRANSPOSE": _transpose,
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": _pad,
    "TILE": _tile,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "BROADCAST_TO": _broadcast_to,
    **dict.fromkeys(
        [
            *("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY"),
            *("REDUCE_ALL", "ARG_MAX", "ARG_MIN", "CUMSUM", "REVERSE_V2"),
        ],
        _axis_input(0, 1),
    ),
    **dict.fromkeys(
        [
            *("ADD", "SUB", "MUL", "DIV", "SQUARED_DIFFERENCE", "POW", "FLOOR_DIV", "FLOOR_MOD"),
            *("MAXIMUM", "MINIMUM", "ATAN2", "SELECT_V2", "LOGICAL_AND", "LOGICAL_OR"),
            *("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"),
        ],
        _broadcasting,
    ),
}
