"""How an operation of a file that is made for a batch of 1 runs on more items.

A tensor of N items holds the N tensors that the file would compute, one after the other: its
leading dimension is N times the file's, whatever that dimension means. Most operations leave the
leading dimension alone and need no care. Those that move, cut, join or broadcast along it
(unrolled recurrent layers do, where the converter turned a transposition of a batch of 1 into a
reshape) run on tensors with one more dimension in front, the batch.

``completed`` notes in an operation's options the shapes that this takes.
"""

import dataclasses
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

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


def run(kernel: Callable, operation: Operation, inputs: list[Input]) -> list[tf.Tensor]:
    """Run an operation's kernel, which takes it and its inputs, on tensors of any number of items.

    The inputs, and the outputs, have N times the file's leading dimension.
    """
    options, rule = operation.options, _RULES.get(operation.name)
    shapes = options["input_shapes"]
    batched = [
        entry is not None and bool(shape) and _tensor(entry).shape[0] != shape[0]
        for entry, shape in zip(inputs, shapes, strict=True)
    ]
    change = rule(options, inputs, batched) if rule and any(batched) else None
    if change is None:
        return kernel(operation, inputs)
    rank = len(options["output_shapes"][0]) if rule in (_broadcasting, _broadcast_to) else None
    changed = list(inputs)
    for place in change.apart:
        changed[place] = _apart(inputs[place], shapes[place], rank)
    for place, value in change.constants.items():
        is_known = isinstance(value, np.ndarray)
        changed[place] = tf.constant(value, inputs[place].dtype) if is_known else value
    kept = {key: options[key] for key in options if key not in ("input_shapes", "output_shapes")}
    operation = dataclasses.replace(operation, options={**kept, **change.options})
    results = kernel(operation, changed)
    shapes = options["output_shapes"]
    return [
        tf.reshape(result, [-1, *shape[1:]]) for result, shape in zip(results, shapes, strict=True)
    ]


class _Change(NamedTuple):
    """What runs in the place of an operation."""

    apart: Collection[int]  # the places of inputs that get a dimension for the batch
    # The other inputs that change, by their place.
    constants: Mapping[int, Any] = types.MappingProxyType({})
    options: Mapping[str, Any] = types.MappingProxyType({})  # the options that change


def _tensor(entry):
    """Return the plain tensor of an input."""
    return entry.values if isinstance(entry, Integers) else entry


def _apart(entry, shape, rank):
    """Give the batch a dimension of its own, and ones behind it up to a rank."""
    ones = [1] * ((rank or len(shape)) - len(shape))
    values = tf.reshape(_tensor(entry), [-1, *ones, *shape])
    return entry._replace(values=values) if isinstance(entry, Integers) else values


def _constant(entry):
    """Read a constant input, None if it is computed."""
    value = tf.get_static_value(_tensor(entry))
    return None if value is None else np.asarray(value)


def _axis_option(options, inputs, batched):
    """Rule for an axis among the options: CONCATENATION, UNPACK."""
    axis = options.get("axis", 0) % len(options["input_shapes"][0])
    return None if axis else _Change(range(len(inputs)), options={"axis": 1})


def _pack(options, inputs, batched):
    """Rule for PACK."""
    axis = options.get("axis", 0) % (len(options["input_shapes"][0]) + 1)
    return None if axis else _Change(range(len(inputs)), options={"axis": 1})


def _gather(options, inputs, batched):
    """Rule for GATHER out of data along the leading dimension."""
    axis = options.get("axis", 0) % max(len(options["input_shapes"][0]), 1)
    both = batched[1]
    if not batched[0] or (axis and not both) or options.get("batch_dims", 0):
        return None
    return _Change([0, 1] if both else [0], options={"axis": axis + 1, "batch_dims": int(both)})


def _axis_input(data, place):
    """Make the rule for axes that are an input: reductions, SPLIT, CUMSUM and others."""

    def rule(options, inputs, batched):
        axes, rank = _constant(inputs[place]), len(options["input_shapes"][data])
        if axes is None or np.all(axes % rank):
            return None
        return _Change([data], {place: axes % rank + 1})

    return rule


def _transpose(options, inputs, batched):
    """Rule for TRANSPOSE."""
    order = _constant(inputs[1])
    return _Change([0], {1: np.append(0, order % len(order) + 1)}) if order[0] else None


def _pad(options, inputs, batched):
    """Rule for PAD, PADV2 and MIRROR_PAD."""
    around = _constant(inputs[1])
    if around is None or not around[0].any():
        return None
    return _Change([0], {1: np.concatenate([[[0, 0]], around])})


def _tile(options, inputs, batched):
    """Rule for TILE."""
    times = _constant(inputs[1])
    return None if times is None or times[0] == 1 else _Change([0], {1: np.append(1, times)})


def _slice(options, inputs, batched):
    """Rule for SLICE: never count the items."""
    begin, size = _constant(inputs[1]), _constant(inputs[2])
    if begin is None or size is None or not batched[0]:
        return None
    return _Change([0], {1: np.append(0, begin), 2: np.append(-1, size)})


def _strided_slice(options, inputs, batched):
    """Rule for STRIDED_SLICE: never count the items."""
    entries = {place: _constant(inputs[place]) for place in (1, 2, 3)}
    if not batched[0] or any(entry is None for entry in entries.values()):
        return None
    ends = {mask: options.get(mask, 0) << 1 | 1 for mask in ("begin_mask", "end_mask")}
    others = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    masks = ends | {mask: options.get(mask, 0) << 1 for mask in others}
    entries = {place: np.append(place == 3, entry) for place, entry in entries.items()}
    return _Change([0], entries, masks)


def _broadcast_to(options, inputs, batched):
    """Rule for BROADCAST_TO."""
    target, size = options["output_shapes"][0], options["input_shapes"][0][0]
    items = tf.shape(_tensor(inputs[0]))[:1] // size
    return _Change([0], {1: tf.concat([items, tf.constant(target, tf.int32)], 0)})


def _broadcasting(options, inputs, batched):
    """Rule for operations of tensors that broadcast, where leading dimensions do not line up."""
    target, shapes = options["output_shapes"][0], options["input_shapes"]
    lined_up = [
        len(shape) == len(target) and shape[0] == target[0]
        if is_batched
        else len(shape) < len(target) or shape[:1] == (1,) or not shape
        for shape, is_batched in zip(shapes, batched, strict=True)
    ]
    return None if all(lined_up) else _Change(range(len(inputs)))


# A rule takes an operation's options, its inputs, and which of them hold more than one item.
_RULES: dict[str, Callable[[dict, list[Input], list[bool]], _Change | None]] = {
    "CONCATENATION": _axis_option,
    "PACK": _pack,
    "UNPACK": _axis_option,
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
