"""Operations that move, choose and compare values, the same on real numbers and on integers.

All real tensors of such an operation lie on one grid, so integers pass through unchanged. Two
exceptions need to know the grids: padding, where zero is the zero point (``moving.py``), and
comparisons of two grids (``arithmetic.py``).

A file is made for a batch of 1. Here the leading dimension may hold N times what the file says: a
shape that the file spells out keeps its dimensions but the leading one, and a constant is repeated
beside data of a larger batch. ``batches.py`` handles what happens along the leading dimension.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

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


def axis_of(operation: Operation, axis: Any, rank: int) -> int:
    """Count an axis from the front."""
    axis = int(axis)
    if not -rank <= axis < max(rank, 1):
        raise ValueError(
            f"{operation.name} (operation {operation.index}): axis must be in [-{rank}, {rank}). "
            f"Received: {axis}"
        )
    return axis % max(rank, 1)


def with_equal_batches(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Repeat tensors whose leading dimension is smaller, so that all hold one batch.

    Args:
        tensors: one rank, each with a leading dimension that divides the largest one.

    Returns:
        The tensors with equal leading dimensions.
    """
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
        _repeated(tensor, batch // size) if is_short else tensor
        for tensor, size, is_short in zip(tensors, sizes, short, strict=True)
    ]


def _repeated(tensor, times):
    """Repeat a tensor along its leading dimension."""
    return tf.tile(tensor, [times] + [1] * (tensor.shape.rank - 1))


def _to_file_shape(value, shape):
    """Give a value the file's shape, but a free leading dimension."""
    shape = [int(size) for size in shape]
    return tf.reshape(value, [-1, *shape[1:]] if shape else [])


def _output_shape(operation, shapes):
    """Find the file's shape of the first output, if the caller or the options hold it."""
    shapes = shapes or operation.options.get("output_shapes")
    return None if not shapes or shapes[0] is None else tuple(shapes[0])


def _reshape(operation, inputs, shapes):
    """RESHAPE."""
    shape = _output_shape(operation, shapes)
    if len(inputs) > 1 and inputs[1] is not None:
        asked = tf.get_static_value(inputs[1])
        if asked is None:  # computed from the shape of the data: it counts the batch already
            result = tf.reshape(inputs[0], inputs[1])
            if shape is not None:
                result.set_shape([None, *shape[1:]])
            return [result]
    else:
        asked = np.asarray(operation.options["new_shape"])
    if shape is None:
        shape = [int(size) for size in asked]
        if -1 in shape[1:]:
            return [tf.reshape(inputs[0], [tf.shape(inputs[0])[0], *shape[1:]])]
    return [_to_file_shape(inputs[0], shape)]


def _squeeze(operation, inputs, shapes):
    """SQUEEZE."""
    shape = _output_shape(operation, shapes)
    if shape is None:
        axes = list(operation.options.get("squeeze_dims") or ())
        return [tf.squeeze(inputs[0], axes)]
    return [_to_file_shape(inputs[0], shape)]


def _expand_dims(operation, inputs, shapes):
    """EXPAND_DIMS."""
    shape = _output_shape(operation, shapes)
    if shape is None:
        return [tf.expand_dims(inputs[0], static_axis(inputs[1], operation))]
    return [_to_file_shape(inputs[0], shape)]


def _transpose(operation, inputs, shapes):
    """TRANSPOSE."""
    return [tf.transpose(inputs[0], inputs[1])]


def _concatenation(operation, inputs, shapes):
    """CONCATENATION."""
    axis = axis_of(operation, operation.options["axis"], inputs[0].shape.rank)
    return [tf.concat(with_equal_batches(inputs) if axis else inputs, axis)]


def _pack(operation, inputs, shapes):
    """PACK."""
    return [tf.stack(with_equal_batches(inputs), operation.options.get("axis", 0))]


def _unpack(operation, inputs, shapes):
    """UNPACK."""
    return tf.unstack(inputs[0], operation.options["num"], operation.options.get("axis", 0))


def _mirror_pad(operation, inputs, shapes):
    """MIRROR_PAD."""
    mode = ("REFLECT", "SYMMETRIC")[operation.options.get("mode", 0)]
    return [tf.pad(inputs[0], inputs[1], mode)]


def padded(value: tf.Tensor, paddings: tf.Tensor, filling: Any) -> tf.Tensor:
    """Surround a tensor by a value.

    Args:
        value: shape (d0, ..., dn).
        paddings: shape (n + 1, 2), how many entries to add before and after.
        filling: what to fill them with, (): a number or a tensor.

    Returns:
        The larger tensor.
    """
    return tf.pad(value, paddings, constant_values=tf.cast(filling, value.dtype))


def _pad(operation, inputs, shapes):
    """PAD with zeros, PADV2 with a value."""
    filling = tf.reshape(inputs[2], []) if len(inputs) > 2 else 0
    return [padded(inputs[0], inputs[1], filling)]


def _slice(operation, inputs, shapes):
    """SLICE."""
    value, begin, size = inputs
    begin, size = tf.cast(begin, tf.int32), tf.cast(size, tf.int32)
    return [tf.slice(value, begin, size)]


def _strided_slice(operation, inputs, shapes):
    """STRIDED_SLICE."""
    value, begin, end, strides = inputs
    options = operation.options
    if options.get("offset"):
        end = begin + end
    masks = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    return [
        tf.strided_slice(
            value, begin, end, strides, **{mask: options.get(mask, 0) for mask in masks}
        )
    ]


def _split(operation, inputs, shapes):
    """SPLIT into equal parts."""
    axis = static_axis(inputs[0], operation)
    return tf.split(inputs[1], operation.options["num_splits"], axis)


def _split_v(operation, inputs, shapes):
    """SPLIT_V into parts of given sizes."""
    value, sizes, axis = inputs
    return tf.split(value, static(sizes, operation, "sizes"), static_axis(axis, operation))


def _gather(operation, inputs, shapes):
    """GATHER."""
    options = operation.options
    batch_dims = options.get("batch_dims", 0)
    return [tf.gather(*inputs, axis=options.get("axis", 0), batch_dims=batch_dims)]


def _gather_nd(operation, inputs, shapes):
    """GATHER_ND."""
    return [tf.gather_nd(*inputs)]


def _embedding_lookup(operation, inputs, shapes):
    """EMBEDDING_LOOKUP."""
    return [tf.gather(inputs[1], inputs[0])]


def _tile(operation, inputs, shapes):
    """TILE."""
    return [tf.tile(*inputs)]


def _broadcast_to(operation, inputs, shapes):
    """BROADCAST_TO."""
    return [tf.broadcast_to(inputs[0], tf.cast(inputs[1], tf.int32))]


def _reverse(operation, inputs, shapes):
    """REVERSE_V2."""
    return [tf.reverse(*inputs)]


def _space_to_depth(operation, inputs, shapes):
    """SPACE_TO_DEPTH."""
    return [tf.nn.space_to_depth(inputs[0], operation.options["block_size"])]


def _depth_to_space(operation, inputs, shapes):
    """DEPTH_TO_SPACE."""
    return [tf.nn.depth_to_space(inputs[0], operation.options["block_size"])]


def _select(operation, inputs, shapes):
    """SELECT: a condition of rank 1 chooses along the leading dimension."""
    condition, *values = inputs
    rank = values[0].shape.rank
    if condition.shape.rank == 1 and rank > 1:
        condition = tf.reshape(condition, [-1] + [1] * (rank - 1))
    return [tf.where(condition, *values)]


def _select_v2(operation, inputs, shapes):
    """SELECT_V2."""
    return [tf.where(*inputs)]


def _one_hot(operation, inputs, shapes):
    """ONE_HOT."""
    indices, depth, on, off = inputs
    depth = int(static(depth, operation, "depth"))
    axis = operation.options.get("axis", -1)
    return [tf.one_hot(indices, depth, tf.reshape(on, []), tf.reshape(off, []), axis)]


def _fill(operation, inputs, shapes):
    """FILL."""
    return [tf.fill(inputs[0], tf.reshape(inputs[1], []))]


def _shape(operation, inputs, shapes):
    """SHAPE, of the batch that is there."""
    kind = operation.options.get("out_type", "INT32")
    kinds = {2: tf.int32, 4: tf.int64, "INT32": tf.int32, "INT64": tf.int64}
    return [tf.shape(inputs[0], kinds[kind])]


def _range(operation, inputs, shapes):
    """RANGE."""
    return [tf.range(*(tf.reshape(value, []) for value in inputs))]


def _rank(operation, inputs, shapes):
    """RANK."""
    return [tf.rank(inputs[0])]


def _cast(operation, inputs, shapes):
    """CAST; floats are cut off towards zero."""
    options = operation.options
    kind = options["output_types"][0] if "output_types" in options else options["out_data_type"]
    return [tf.cast(inputs[0], numpy_type(kind))]


def _arg(function):
    """ARG_MAX and ARG_MIN; the first of equals wins."""

    def kernel(operation, inputs, shapes):
        kind = operation.options.get("output_type", 2)
        axis = static_axis(inputs[1], operation)
        return [function(inputs[0], axis, tf.int64 if kind in (4, "INT64") else tf.int32)]

    return kernel


def _top_k(operation, inputs, shapes):
    """TOPK_V2."""
    found = tf.math.top_k(inputs[0], tf.reshape(inputs[1], []))
    return [found.values, found.indices]


def _dynamic_update_slice(operation, inputs, shapes):
    """DYNAMIC_UPDATE_SLICE: write a block into a tensor, moved inside where it would stick out."""
    value, update, start = inputs
    room = tf.shape(value) - tf.shape(update)
    start = tf.clip_by_value(tf.cast(start, tf.int32), 0, room)
    around = tf.stack([start, room - start], 1)
    inside = tf.pad(tf.ones_like(update, tf.bool), around)
    return [tf.where(inside, tf.pad(update, around), value)]


def _broadcast_args(operation, inputs, shapes):
    """BROADCAST_ARGS."""
    return [tf.broadcast_dynamic_shape(*inputs)]


def _scatter_nd(operation, inputs, shapes):
    """SCATTER_ND; updates of one place add up."""
    return [tf.scatter_nd(*inputs)]


def _reverse_sequence(operation, inputs, shapes):
    """REVERSE_SEQUENCE."""
    options = operation.options
    return [
        tf.reverse_sequence(
            *inputs, seq_axis=options["seq_dim"], batch_axis=options.get("batch_dim", 0)
        )
    ]


def max_pool(operation: Operation, value: tf.Tensor) -> tf.Tensor:
    """MAX_POOL_2D without its activation.

    Args:
        operation: the operation.
        value: shape (batch, height, width, channels), float32.

    Returns:
        The largest value of each window, shape (batch, rows, columns, channels).
    """
    options = operation.options
    return tf.nn.max_pool2d(
        value,
        (options["filter_height"], options["filter_width"]),
        (options["stride_h"], options["stride_w"]),
        options["padding"],
    )


def reducing(function: Any) -> Any:
    """Make the kernel of a reduction over constant axes, such as REDUCE_MAX.

    Args:
        function: takes a tensor, axes and whether to keep the dimensions.

    Returns:
        The kernel.
    """

    def kernel(operation, inputs, shapes):
        axes = np.reshape(static(inputs[1], operation, "axes"), -1).tolist()
        return [function(inputs[0], axes, operation.options.get("keep_dims", False))]

    return kernel


def binary(function: Any) -> Any:
    """Make the kernel of an operation of two tensors without options.

    Args:
        function: takes the two tensors.

    Returns:
        The kernel.
    """

    def kernel(operation, inputs, shapes):
        return [function(*inputs)]

    return kernel


# Kernels take the operation, its inputs (tensors, None where absent) and the file's output shapes
# (or None, where ``completed`` has put them into the options).
MOVES = {
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand_dims,
    "TRANSPOSE": _transpose,
    "CONCATENATION": _concatenation,
    "PACK": _pack,
    "UNPACK": _unpack,
    "MIRROR_PAD": _mirror_pad,
    "PAD": _pad,
    "PADV2": _pad,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "EMBEDDING_LOOKUP": _embedding_lookup,
    "TILE": _tile,
    "BROADCAST_TO": _broadcast_to,
    "REVERSE_V2": _reverse,
    "REVERSE_SEQUENCE": _reverse_sequence,
    "SPACE_TO_DEPTH": _space_to_depth,
    "DEPTH_TO_SPACE": _depth_to_space,
    "SPACE_TO_BATCH_ND": binary(tf.space_to_batch),
    "BATCH_TO_SPACE_ND": binary(tf.batch_to_space),
    "SELECT": _select,
    "SELECT_V2": _select_v2,
    "MAXIMUM": binary(tf.maximum),
    "MINIMUM": binary(tf.minimum),
    "REDUCE_MAX": reducing(tf.reduce_max),
    "REDUCE_MIN": reducing(tf.reduce_min),
    "ONE_HOT": _one_hot,
    "FILL": _fill,
    "DYNAMIC_UPDATE_SLICE": _dynamic_update_slice,
    "TOPK_V2": _top_k,
    "SCATTER_ND": _scatter_nd,
    "ZEROS_LIKE": binary(tf.zeros_like),
}

# What leaves are indices, shapes or truths.
INDICES = {
    "SHAPE": _shape,
    "RANGE": _range,
    "RANK": _rank,
    "CAST": _cast,
    "ARG_MAX": _arg(tf.argmax),
    "ARG_MIN": _arg(tf.argmin),
    "BROADCAST_ARGS": _broadcast_args,
    "EQUAL": binary(tf.equal),
    "NOT_EQUAL": binary(tf.not_equal),
    "GREATER": binary(tf.greater),
    "GREATER_EQUAL": binary(tf.greater_equal),
    "LESS": binary(tf.less),
    "LESS_EQUAL": binary(tf.less_equal),
    "LOGICAL_AND": binary(tf.logical_and),
    "LOGICAL_OR": binary(tf.logical_or),
    "LOGICAL_NOT": binary(tf.logical_not),
    "REDUCE_ANY": reducing(tf.reduce_any),
    "REDUCE_ALL": reducing(tf.reduce_all),
    "WHERE": binary(tf.where),
}
