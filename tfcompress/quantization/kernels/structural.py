"""Operations that move, choose and compare values, the same on real numbers and on integers.

A kernel takes the operation and its inputs (tensors, None where absent). All real tensors of such
an operation lie on one grid, so integers pass through unchanged. Two exceptions need to know the
grids: padding, where zero is the zero point, and comparisons of two grids (``elementwise.py``).

A file is made for a batch of 1. Here the leading dimension may hold N times what the file says: a
shape that the file spells out keeps its dimensions but the leading one, and a constant is repeated
beside data of a larger batch. ``batches.py`` handles what happens along the leading dimension.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfcompress.quantization.kernels.grids import Integers
from tfcompress.tflite.constants import numpy_type
from tfcompress.tflite.model import Operation


def static(tensor: tf.Tensor, operation: Operation, what: str) -> np.ndarray:
    """Read a tensor that must be known when the graph is built, such as an axis."""
    value = tf.get_static_value(tensor)
    if value is None:
        raise ValueError(
            f"{operation.name} (operation {operation.index}): its {what} must be a constant of "
            "the file. Received: a value that is computed from the input. Keep this operation out "
            "of the quantized part, or make the model compute it from constants."
        )
    return value


def static_axis(tensor: tf.Tensor, operation: Operation) -> int:
    """Read the one axis that a tensor holds."""
    return int(np.reshape(static(tensor, operation, "axis"), -1)[0])


def function_of_inputs(function: Callable) -> Callable:
    """Make the kernel of an operation without options."""
    return lambda operation, inputs: [function(*inputs)]


def function_of_options(function: Callable) -> Callable:
    """Make the kernel of an operation with options: ``function(options, *inputs)``."""
    return lambda operation, inputs: [function(operation.options, *inputs)]


def reduction(function: Callable) -> Callable:
    """Make the kernel of a reduction over constant axes, such as REDUCE_MAX."""

    def kernel(operation, inputs):
        axes = np.reshape(static(inputs[1], operation, "axes"), -1).tolist()
        return [function(inputs[0], axes, operation.options.get("keep_dims", False))]

    return kernel


def resize(function: Callable) -> Callable:
    """Make the kernel of RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR."""

    def kernel(operation, inputs):
        modes = ("align_corners", "half_pixel_centers")
        modes = {mode: operation.options.get(mode, False) for mode in modes}
        return [function(images=inputs[0], size=inputs[1], **modes)]

    return kernel


def _with_equal_batches(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Repeat tensors whose leading dimension is smaller, so that all hold one batch."""
    sizes = [tensor.shape[0] if tensor.shape.rank else None for tensor in tensors]
    if any(tensor.shape.rank == 0 for tensor in tensors) or len(set(sizes)) == 1:
        return list(tensors)
    if None in sizes:
        batch = tf.shape(tensors[sizes.index(None)])[0]
        short = [size is not None for size in sizes]
    else:
        batch = max(sizes)
        short = [size < batch for size in sizes]
    return [
        tf.tile(tensor, [batch // size] + [1] * (tensor.shape.rank - 1)) if is_short else tensor
        for tensor, size, is_short in zip(tensors, sizes, short, strict=True)
    ]


def _file_shape(operation):
    """Return the file's shape of what an operation makes, None if it is not known."""
    shapes = operation.options.get("output_shapes")
    return None if not shapes or shapes[0] is None else [int(size) for size in shapes[0]]


def _to_file_shape(value, shape):
    """Give a value the file's shape, but a free leading dimension."""
    return tf.reshape(value, [-1, *shape[1:]] if shape else [])


def _reshape(operation, inputs):
    """RESHAPE."""
    shape = _file_shape(operation)
    if len(inputs) > 1 and inputs[1] is not None:
        asked = tf.get_static_value(inputs[1])
        if asked is None:  # computed from the shape of the data: it counts the batch already
            result = tf.reshape(inputs[0], inputs[1])
            if shape is not None:
                result.set_shape([None, *shape[1:]])
            return [result]
    else:
        asked = operation.options["new_shape"]
    if shape is None:
        shape = [int(size) for size in asked]
        if -1 in shape[1:]:
            return [tf.reshape(inputs[0], [tf.shape(inputs[0])[0], *shape[1:]])]
    return [_to_file_shape(inputs[0], shape)]


def _squeeze(operation, inputs):
    """SQUEEZE."""
    shape = _file_shape(operation)
    if shape is None:
        return [tf.squeeze(inputs[0], list(operation.options.get("squeeze_dims") or ()))]
    return [_to_file_shape(inputs[0], shape)]


def _expand_dims(operation, inputs):
    """EXPAND_DIMS."""
    shape = _file_shape(operation)
    if shape is None:
        return [tf.expand_dims(inputs[0], static_axis(inputs[1], operation))]
    return [_to_file_shape(inputs[0], shape)]


def _concatenation(operation, inputs):
    """CONCATENATION."""
    axis, rank = int(operation.options["axis"]), inputs[0].shape.rank
    if not -rank <= axis < max(rank, 1):
        raise ValueError(
            f"{operation.name} (operation {operation.index}): axis must be in [-{rank}, {rank}). "
            f"Received: {axis}"
        )
    return [tf.concat(_with_equal_batches(inputs) if axis % max(rank, 1) else inputs, axis)]


def _unpack(operation, inputs):
    """UNPACK."""
    return tf.unstack(inputs[0], operation.options["num"], operation.options.get("axis", 0))


def _padded(value, paddings, filling):
    """Surround a tensor by a number."""
    filling = tf.cast(tf.reshape(filling, []), value.dtype)
    return [tf.pad(value, paddings, constant_values=filling)]


def _pad(operation, inputs):
    """PAD with zeros, PADV2 with a value."""
    return _padded(*inputs, *([] if len(inputs) > 2 else [0]))


def _slice(operation, inputs):
    """SLICE."""
    value, *ends = inputs
    return [tf.slice(value, *(tf.cast(each, tf.int32) for each in ends))]


def _strided_slice(operation, inputs):
    """STRIDED_SLICE."""
    value, begin, end, strides = inputs
    options = operation.options
    if options.get("offset"):
        end = begin + end
    masks = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    masks = {mask: options.get(mask, 0) for mask in masks}
    return [tf.strided_slice(value, begin, end, strides, **masks)]


def _split(operation, inputs):
    """SPLIT into equal parts."""
    axis = static_axis(inputs[0], operation)
    return tf.split(inputs[1], operation.options["num_splits"], axis)


def _split_v(operation, inputs):
    """SPLIT_V into parts of given sizes."""
    value, sizes, axis = inputs
    return tf.split(value, static(sizes, operation, "sizes"), static_axis(axis, operation))


def _select(condition, *values):
    """Choose; a condition of rank 1 does so along the leading dimension."""
    rank = values[0].shape.rank
    if condition.shape.rank == 1 and rank > 1:
        condition = tf.reshape(condition, [-1] + [1] * (rank - 1))
    return tf.where(condition, *values)


def _one_hot(operation, inputs):
    """ONE_HOT."""
    indices, depth, *values = inputs
    depth = int(static(depth, operation, "depth"))
    values = (tf.reshape(value, []) for value in values)
    return [tf.one_hot(indices, depth, *values, operation.options.get("axis", -1))]


def _shape(operation, inputs):
    """SHAPE, of the batch that is there."""
    wide = operation.options.get("out_type", "INT32") in (4, "INT64")
    return [tf.shape(inputs[0], tf.int64 if wide else tf.int32)]


def _cast(operation, inputs):
    """CAST; floats are cut off towards zero."""
    options = operation.options
    kind = options["output_types"][0] if "output_types" in options else options["out_data_type"]
    return [tf.cast(inputs[0], numpy_type(kind))]


def _place_of(function):
    """Make the kernel of ARG_MAX or ARG_MIN; the first of equals wins."""

    def kernel(operation, inputs):
        wide = operation.options.get("output_type", 2) in (4, "INT64")
        axis = static_axis(inputs[1], operation)
        return [function(inputs[0], axis, tf.int64 if wide else tf.int32)]

    return kernel


def _dynamic_update_slice(value, update, start):
    """Write a block into a tensor, moved inside where it would stick out."""
    room = tf.shape(value) - tf.shape(update)
    start = tf.clip_by_value(tf.cast(start, tf.int32), 0, room)
    around = tf.stack([start, room - start], 1)
    inside = tf.pad(tf.ones_like(update, tf.bool), around)
    return tf.where(inside, tf.pad(update, around), value)


def window_of(operation: Operation) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the size of a pool's windows and their strides."""
    options = operation.options
    windows = options["filter_height"], options["filter_width"]
    return windows, (options["stride_h"], options["stride_w"])


def max_pool(operation: Operation, value: tf.Tensor) -> tf.Tensor:
    """Find the largest value of each window of images, without the fused activation."""
    return tf.nn.max_pool2d(value, *window_of(operation), operation.options["padding"])


MOVES: dict[str, Callable[[Operation, list], list[Any]]] = {
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand_dims,
    "TRANSPOSE": function_of_inputs(tf.transpose),
    "CONCATENATION": _concatenation,
    "PACK": function_of_options(
        lambda options, *inputs: tf.stack(_with_equal_batches(inputs), options.get("axis", 0))
    ),
    "UNPACK": _unpack,
    "MIRROR_PAD": function_of_options(
        lambda options, *inputs: tf.pad(*inputs, ("REFLECT", "SYMMETRIC")[options.get("mode", 0)])
    ),
    "PAD": _pad,
    "PADV2": _pad,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "GATHER": function_of_options(
        lambda options, *inputs: tf.gather(
            *inputs, axis=options.get("axis", 0), batch_dims=options.get("batch_dims", 0)
        )
    ),
    "GATHER_ND": function_of_inputs(tf.gather_nd),
    "EMBEDDING_LOOKUP": function_of_inputs(lambda indices, table: tf.gather(table, indices)),
    "TILE": function_of_inputs(tf.tile),
    "BROADCAST_TO": function_of_inputs(lambda x, to: tf.broadcast_to(x, tf.cast(to, tf.int32))),
    "REVERSE_V2": function_of_inputs(tf.reverse),
    "REVERSE_SEQUENCE": function_of_options(
        lambda options, *inputs: tf.reverse_sequence(
            *inputs, options["seq_dim"], options.get("batch_dim", 0)
        )
    ),
    "RESIZE_NEAREST_NEIGHBOR": resize(tf.raw_ops.ResizeNearestNeighbor),
    "SPACE_TO_DEPTH": function_of_options(
        lambda options, x: tf.nn.space_to_depth(x, options["block_size"])
    ),
    "DEPTH_TO_SPACE": function_of_options(
        lambda options, x: tf.nn.depth_to_space(x, options["block_size"])
    ),
    "SPACE_TO_BATCH_ND": function_of_inputs(tf.space_to_batch),
    "BATCH_TO_SPACE_ND": function_of_inputs(tf.batch_to_space),
    "SELECT": function_of_inputs(_select),
    "SELECT_V2": function_of_inputs(tf.where),
    "MAXIMUM": function_of_inputs(tf.maximum),
    "MINIMUM": function_of_inputs(tf.minimum),
    "REDUCE_MAX": reduction(tf.reduce_max),
    "REDUCE_MIN": reduction(tf.reduce_min),
    "ONE_HOT": _one_hot,
    "FILL": function_of_inputs(lambda shape, value: tf.fill(shape, tf.reshape(value, []))),
    "DYNAMIC_UPDATE_SLICE": function_of_inputs(_dynamic_update_slice),
    "TOPK_V2": lambda operation, inputs: [*tf.math.top_k(inputs[0], tf.reshape(inputs[1], []))],
    "SCATTER_ND": function_of_inputs(tf.scatter_nd),
    "ZEROS_LIKE": function_of_inputs(tf.zeros_like),
}

# What leaves are indices, shapes or truths.
INDICES = {
    "SHAPE": _shape,
    "RANGE": function_of_inputs(lambda *ends: tf.range(*(tf.reshape(end, []) for end in ends))),
    "RANK": function_of_inputs(tf.rank),
    "CAST": _cast,
    "ARG_MAX": _place_of(tf.argmax),
    "ARG_MIN": _place_of(tf.argmin),
    "BROADCAST_ARGS": function_of_inputs(tf.broadcast_dynamic_shape),
    "EQUAL": function_of_inputs(tf.equal),
    "NOT_EQUAL": function_of_inputs(tf.not_equal),
    "GREATER": function_of_inputs(tf.greater),
    "GREATER_EQUAL": function_of_inputs(tf.greater_equal),
    "LESS": function_of_inputs(tf.less),
    "LESS_EQUAL": function_of_inputs(tf.less_equal),
    "LOGICAL_AND": function_of_inputs(tf.logical_and),
    "LOGICAL_OR": function_of_inputs(tf.logical_or),
    "LOGICAL_NOT": function_of_inputs(tf.logical_not),
    "REDUCE_ANY": reduction(tf.reduce_any),
    "REDUCE_ALL": reduction(tf.reduce_all),
    "WHERE": function_of_inputs(tf.where),
}


def _on_integers(function):
    """Make an integer kernel of one that only moves or chooses values."""

    def kernel(operation, inputs, grids, kernels):
        plain = [entry.values if isinstance(entry, Integers) else entry for entry in inputs]
        return function(operation, plain)

    return kernel


def _pad_integers(operation, inputs, grids, kernels):
    """PAD with the zero point, PADV2 with a value."""
    value, paddings, *filling = inputs
    return _padded(value.values, paddings, filling[0].values if filling else value.grid.zero_point)


def _space_to_batch_integers(operation, inputs, grids, kernels):
    """SPACE_TO_BATCH_ND pads with the zero point."""
    value, *how = inputs
    zero = tf.cast(value.grid.zero_point, value.values.dtype)
    return [tf.space_to_batch(value.values - zero, *how) + zero]


# Integer kernels; ZEROS_LIKE has none.
MOVING = {
    **{name: _on_integers(MOVES[name]) for name in MOVES if name != "ZEROS_LIKE"},
    **{name: _on_integers(INDICES[name]) for name in ("SHAPE", "RANK", "ARG_MAX", "ARG_MIN")},
    "PAD": _pad_integers,
    "PADV2": _pad_integers,
    "SPACE_TO_BATCH_ND": _space_to_batch_integers,
}
