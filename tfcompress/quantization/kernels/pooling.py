"""Pools, resizes and reductions on integers.

Input and output of pools and resizes have one grid. The built-in kernels average in integers;
XNNPACK takes maxima and bilinear resizing, whose weights have 11 bits there and 10 bits in the
reference kernels.
"""

import math

import numpy as np
import tensorflow as tf

from tfcompress.quantization.kernels import requantization as rq
from tfcompress.quantization.kernels import structural
from tfcompress.quantization.kernels.convolutions import same_padding
from tfcompress.quantization.kernels.grids import integer_range, less_zero_point


def _limited(operation, value, grid, kernels):
    """Clamp to what the fused activation allows."""
    limits = rq.activation_limits(rq.fused_activation(operation), grid, kernels)
    return tf.clip_by_value(value, *limits)


def _average_pool(operation, inputs, grids, kernels):
    """AVERAGE_POOL_2D over the part of each window inside the image, halves away from zero."""
    value, (windows, strides) = inputs[0].values, structural.window_of(operation)
    sizes = value.shape[1:3]
    around = [(0, 0), (0, 0)]
    if operation.options["padding"] == "SAME":
        around = [same_padding(*entry) for entry in zip(sizes, windows, strides, strict=True)]
    counts = [_covered(*entry) for entry in zip(sizes, windows, strides, around, strict=True)]
    count = tf.constant(np.multiply.outer(*counts)[None, :, :, None], tf.int64)
    padded = tf.pad(tf.cast(value, tf.float64), [(0, 0), *around, (0, 0)])
    # A mean times the size of its window is the sum up to an error far below 1.
    means = tf.nn.avg_pool2d(padded, windows, strides, "VALID")
    total = tf.cast(tf.round(means * float(np.prod(windows))), tf.int64)
    half = count // 2
    result = tf.truncatediv(tf.where(total > 0, total + half, total - half), count)
    return [_limited(operation, tf.cast(result, tf.float32), grids[0], "reference")]


def _covered(size, window, stride, around):
    """How many entries of the image each window holds along one dimension."""
    starts = np.arange(0, size + sum(around) - window + 1, stride) - around[0]
    return np.minimum(starts + window, size) - np.maximum(starts, 0)


def _max_pool(operation, inputs, grids, kernels):
    """MAX_POOL_2D; XNNPACK wants windows of more than one value, without gaps between them."""
    windows, strides = structural.window_of(operation)
    taken_over = windows != (1, 1) and all(np.less_equal(strides, windows))
    rounding = kernels if grids[0].dtype == "INT8" and taken_over else "reference"
    value = structural.max_pool(operation, inputs[0].values)
    return [_limited(operation, value, grids[0], rounding)]


def _resize_bilinear(operation, inputs, grids, kernels):
    """RESIZE_BILINEAR."""
    value = inputs[0].values
    target = [int(size) for size in structural.static(inputs[1], operation, "size")]
    by_xnnpack = kernels == "xnnpack" and grids[0].dtype == "INT8"
    find = _places_of_xnnpack if by_xnnpack else _places_of_reference
    bits = 11 if by_xnnpack else 10
    modes = [operation.options.get(mode, False) for mode in ("align_corners", "half_pixel_centers")]
    result = tf.cast(value, tf.int64)
    for axis, size in zip((1, 2), target, strict=True):
        below, above, weight = find(value.shape[axis], size, *modes)
        shape = [1, -1, 1, 1] if axis == 1 else [1, 1, -1, 1]
        weight = tf.reshape(tf.constant(weight, tf.int64), shape)
        lower, upper = (tf.gather(result, places, axis=axis) for places in (below, above))
        result = lower * ((1 << bits) - weight) + upper * weight
    half = 1 << (2 * bits - 1)
    if by_xnnpack:
        result = tf.bitwise.right_shift(result + half, tf.constant(2 * bits, tf.int64))
    else:
        rounded = tf.where(result > 0, result + half, result - half)
        result = tf.truncatediv(rounded, tf.constant(1 << 2 * bits, tf.int64))
    return [tf.cast(result, tf.float32)]


def _places_of_xnnpack(size, target, align_corners, half_pixel_centers):
    """Neighbours of each output and the weight of the upper one, with 11 bits."""
    single = np.float32
    adjust = 1 if align_corners and target > 1 else 0
    scale = single(size - adjust) / single(target - adjust)
    places = np.arange(target, dtype=single) * scale
    if half_pixel_centers:
        places = places + (single(0.5) * scale - single(0.5))
        places = np.clip(places, single(0), single(size - 1))
    below = np.minimum(places.astype(np.int32), size - 1)
    above = np.minimum(below + 1, size - 1)
    return below, above, np.rint((places - below.astype(single)) * single(2048)).astype(np.int64)


def _places_of_reference(size, target, align_corners, half_pixel_centers):
    """Neighbours of each output and the weight of the upper one, with 10 bits."""
    adjust = 1 if align_corners and target > 1 else 0
    scale = (1024 * (size - adjust) + (target - adjust) // 2) // (target - adjust)
    places = np.arange(target, dtype=np.int64) * scale
    if half_pixel_centers:
        places += scale // 2 - 512
    below = np.maximum(np.trunc(places / 1024), 0).astype(np.int64)
    above = np.minimum(np.trunc((places + 1023) / 1024).astype(np.int64), size - 1)
    return below, above, places - 1024 * below


def _axes(operation, inputs):
    """The axes, counted from the front, and how many values each result is made of."""
    axes = np.reshape(structural.static(inputs[1], operation, "axes"), -1)
    shape = inputs[0].values.shape
    axes = sorted({int(axis) % shape.rank for axis in axes})
    return axes, math.prod(shape[axis] for axis in axes)


def _sum_of(operation, inputs, axes):
    """Sum of the integers counted from zero, int32."""
    steps = tf.cast(less_zero_point(inputs[0]), tf.int32)
    return tf.reduce_sum(steps, axes, operation.options.get("keep_dims", False))


def _mean(operation, inputs, grids, kernels):
    """MEAN."""
    grid = grids[0]
    axes, count = _axes(operation, inputs)
    total = _sum_of(operation, inputs, axes)
    if kernels == "xnnpack" and grid.dtype == "INT8":
        return [_in_float32(operation, inputs[0], axes, grid, count)]
    multiplier, shift = rq.fixed_point_multiplier(rq.ratio(inputs[0].grid.scale, grid.scale))
    bits = tf.minimum(tf.minimum(count.bit_length() - 1, 32), 31 + shift)
    power = tf.bitwise.left_shift(tf.constant(1, tf.int64), tf.cast(bits, tf.int64))
    multiplier = tf.truncatediv(multiplier * power, tf.constant(count, tf.int64))
    steps = rq.multiply_fixed_point(total, multiplier, shift - bits)
    return [rq.on_grid(steps, grid)]


def _in_float32(operation, taken, axes, grid, divisor):
    """Multiply sums in float32, add what the zero points make, round halves to even: XNNPACK's."""
    count = tf.constant(float(math.prod(taken.values.shape[axis] for axis in axes)))
    factor = rq.quotient(taken.grid.scale, grid.scale) * tf.constant(
        np.float32(1) / np.float32(divisor)
    )
    zeros = tf.cast(taken.grid.zero_point, tf.float32) * count
    bias = tf.cast(grid.zero_point, tf.float32) - zeros * factor
    keep = operation.options.get("keep_dims", False)
    total = tf.reduce_sum(tf.cast(taken.values, tf.int32), axes, keep)
    steps = tf.round(tf.cast(total, tf.float32) * factor + bias)
    return tf.clip_by_value(steps, *map(float, integer_range(grid.dtype)))


def _sum(operation, inputs, grids, kernels):
    """SUM."""
    grid = grids[0]
    axes, _ = _axes(operation, inputs)
    total = _sum_of(operation, inputs, axes)
    if kernels == "xnnpack":
        if grid.dtype == "INT8":
            return [_in_float32(operation, inputs[0], axes, grid, 1)]
        factor = rq.quotient(inputs[0].grid.scale, grid.scale)
        steps = rq.round_half_away(tf.cast(total, tf.float32) * factor)
        return [rq.on_grid(steps, grid)]
    real = rq.ratio(inputs[0].grid.scale, grid.scale)
    steps = rq.rescaled(total, real)
    return [rq.on_grid(steps, grid)]


def _product(operation, inputs, grids, kernels):
    """REDUCE_PROD, one factor after the other, each product brought to the output's scale."""
    taken, grid = inputs[0], grids[0]
    axes, count = _axes(operation, inputs)
    if count == 1 and kernels == "xnnpack":  # copied as it is, whatever the grids
        return [tf.reduce_sum(taken.values, axes, operation.options.get("keep_dims", False))]
    root = tf.pow(tf.cast(grid.scale, tf.float64), tf.constant(1 / count, tf.float64))
    real = rq.quotient(tf.cast(taken.grid.scale, tf.float64), root)
    multiplier, shift = rq.fixed_point_multiplier(real)
    steps = tf.cast(less_zero_point(taken), tf.int64)
    kept = [axis for axis in range(steps.shape.rank) if axis not in axes]
    shape = tf.gather(tf.shape(steps), kept)
    rows = tf.reshape(tf.transpose(steps, [*axes, *kept]), tf.concat([[count], shape], 0))
    result = rows[0]
    for index in range(1, count):
        result = rq.multiply_16_bit(result * rows[index], multiplier, shift)
    result = rq.multiply_16_bit(result, multiplier, shift)
    if operation.options.get("keep_dims"):
        for axis in axes:
            result = tf.expand_dims(result, axis)
    return [rq.on_grid(result, grid)]


POOLING = {
    "AVERAGE_POOL_2D": _average_pool,
    "MAX_POOL_2D": _max_pool,
    "RESIZE_BILINEAR": _resize_bilinear,
    "MEAN": _mean,
    "SUM": _sum,
    "REDUCE_PROD": _product,
}
