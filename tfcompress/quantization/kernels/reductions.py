"""Reductions on integers: MEAN, SUM, REDUCE_PROD."""

import math

import numpy as np
import tensorflow as tf

from tfcompress.quantization.kernels import structural
from tfcompress.quantization.kernels.grids import integer_range, less_zero_point
from tfcompress.quantization.kernels.requantization import (
    clamped,
    fixed_point_multiplier,
    multiply_16_bit,
    multiply_fixed_point,
    quotient,
    ratio,
    round_half_away,
)


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
    multiplier, shift = fixed_point_multiplier(ratio(inputs[0].grid.scale, grid.scale))
    bits = tf.minimum(tf.minimum(count.bit_length() - 1, 32), 31 + shift)
    power = tf.bitwise.left_shift(tf.constant(1, tf.int64), tf.cast(bits, tf.int64))
    multiplier = tf.truncatediv(multiplier * power, tf.constant(count, tf.int64))
    steps = multiply_fixed_point(total, multiplier, shift - bits)
    return [clamped(steps, "NONE", grid, "reference")]


def _in_float32(operation, taken, axes, grid, divisor):
    """Multiply sums in float32, add what the zero points make, round halves to even: XNNPACK's."""
    count = tf.constant(float(math.prod(taken.values.shape[axis] for axis in axes)))
    factor = quotient(taken.grid.scale, grid.scale) * tf.constant(
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
        factor = quotient(inputs[0].grid.scale, grid.scale)
        steps = round_half_away(tf.cast(total, tf.float32) * factor)
        return [clamped(steps, "NONE", grid, "reference")]
    real = ratio(inputs[0].grid.scale, grid.scale)
    steps = multiply_fixed_point(total, *fixed_point_multiplier(real))
    return [clamped(steps, "NONE", grid, "reference")]


def _product(operation, inputs, grids, kernels):
    """REDUCE_PROD, one factor after the other, each product brought to the output's scale."""
    taken, grid = inputs[0], grids[0]
    axes, count = _axes(operation, inputs)
    if count == 1 and kernels == "xnnpack":  # copied as it is, whatever the grids
        return [tf.reduce_sum(taken.values, axes, operation.options.get("keep_dims", False))]
    root = tf.pow(tf.cast(grid.scale, tf.float64), tf.constant(1 / count, tf.float64))
    real = quotient(tf.cast(taken.grid.scale, tf.float64), root)
    multiplier, shift = fixed_point_multiplier(real)
    steps = tf.cast(less_zero_point(taken), tf.int64)
    kept = [axis for axis in range(steps.shape.rank) if axis not in axes]
    shape = tf.gather(tf.shape(steps), kept)
    rows = tf.reshape(tf.transpose(steps, [*axes, *kept]), tf.concat([[count], shape], 0))
    result = rows[0]
    for index in range(1, count):
        result = multiply_16_bit(result * rows[index], multiplier, shift)
    result = multiply_16_bit(result, multiplier, shift)
    if operation.options.get("keep_dims"):
        for axis in axes:
            result = tf.expand_dims(result, axis)
    return [clamped(result, "NONE", grid, "reference")]


REDUCTIONS = {"MEAN": _mean, "SUM": _sum, "REDUCE_PROD": _product}
