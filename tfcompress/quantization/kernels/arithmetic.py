"""DIV and SQUARED_DIFFERENCE on integers, and comparisons of two grids."""

import tensorflow as tf

from tfcompress.quantization.kernels import fixed_point
from tfcompress.quantization.kernels.grids import Integers, less_zero_point
from tfcompress.quantization.kernels.requantization import (
    clamped,
    divide_by_power_of_two,
    fixed_point_multiplier,
    multiply_fixed_point,
    product_in_float64,
    quotient,
)


def _squared_difference(operation, inputs, grids, kernels):
    """SQUARED_DIFFERENCE: both on twice the larger scale with 7 more bits."""
    grid = grids[0]
    scales = [entry.grid.scale for entry in inputs]
    twice = tf.cast(2.0 * tf.maximum(*scales), tf.float64)
    steps = [
        multiply_fixed_point(
            tf.cast(less_zero_point(entry), tf.int32) * (1 << 7),
            *fixed_point_multiplier(quotient(tf.cast(scale, tf.float64), twice)),
        )
        for entry, scale in zip(inputs, scales, strict=True)
    ]
    difference = steps[0] - steps[1]
    real = quotient(twice * twice, tf.cast(grid.scale * 2.0**14, tf.float64))
    result = multiply_fixed_point(difference * difference, *fixed_point_multiplier(real))
    return [clamped(result, "NONE", grid, "reference")]


def _div(operation, inputs, grids, kernels):
    """DIV by a reciprocal in fixed point."""
    first, second = inputs
    grid = grids[0]
    dividend, divisor = (tf.cast(less_zero_point(entry), tf.int64) for entry in inputs)
    dividend, divisor = dividend * tf.sign(divisor), tf.abs(divisor)
    zeros = fixed_point.leading_zeros(tf.maximum(divisor, 1))
    inverse = fixed_point.quotient_of_one_plus(tf.bitwise.left_shift(divisor, zeros) - (1 << 31))
    headroom = _sign_bits(dividend)
    unscaled = fixed_point.product(tf.bitwise.left_shift(dividend, headroom), inverse)
    scales = product_in_float64(second.grid.scale, grid.scale)
    scales = tf.cast(tf.cast(scales, tf.float32), tf.float64)
    real = quotient(tf.cast(first.grid.scale, tf.float64), scales)
    real = tf.cast(tf.cast(real, tf.float32), tf.float64)
    multiplier, shift = fixed_point_multiplier(real)
    shift = tf.cast(shift, tf.int64) - (31 - zeros) - headroom
    high = fixed_point.product(unscaled, multiplier)
    steps = _shifted_as_a_processor_does(high, tf.maximum(-shift, 0))
    activation = operation.options.get("fused_activation_function", "NONE")
    return [clamped(steps, activation, grid, "reference")]


def _shifted_as_a_processor_does(value, bits):
    """Divide by ``2**bits``, halves away from zero, where processors take only 5 of the bits.

    The kernel does not expect quotients so small. They come out large.
    """
    beyond = tf.bitwise.right_shift(value, tf.maximum(bits - 32, 0)) + tf.cast(value >= 0, tf.int64)
    return tf.where(bits < 32, fixed_point.shifted_right(value, tf.minimum(bits, 31)), beyond)


def _sign_bits(value):
    """How far 32-bit numbers can be shifted left without losing their sign."""
    magnitude = tf.where(value >= 0, 2 * value, -2 * value - 1)
    return tf.where(
        value == 0, tf.constant(31, tf.int64), fixed_point.leading_zeros(tf.maximum(magnitude, 1))
    )


def _comparison(compare, rescales_16_bits=False):
    """Make the kernel of a comparison; each side is multiplied by its scale in fixed point."""

    def kernel(operation, inputs, grids, kernels):
        if not isinstance(inputs[0], Integers):
            return [compare(*inputs)]
        if inputs[0].grid.dtype == "INT16" and not rescales_16_bits:
            return [compare(inputs[0].values, inputs[1].values)]
        return [compare(*map(_in_fixed_point, inputs))]

    return kernel


def _in_fixed_point(integers):
    """Eight more bits, times the scale."""
    multiplier, shift = fixed_point_multiplier(tf.cast(integers.grid.scale, tf.float64))
    steps = tf.cast(less_zero_point(integers), tf.int32) * (1 << 8)
    high = multiply_fixed_point(steps, multiplier, tf.zeros_like(shift))
    return divide_by_power_of_two(high, tf.maximum(-shift, 0))


ARITHMETIC = {
    "DIV": _div,
    "SQUARED_DIFFERENCE": _squared_difference,
    "EQUAL": _comparison(tf.equal, rescales_16_bits=True),
    "NOT_EQUAL": _comparison(tf.not_equal, rescales_16_bits=True),
    "GREATER": _comparison(tf.greater),
    "GREATER_EQUAL": _comparison(tf.greater_equal),
    "LESS": _comparison(tf.less),
    "LESS_EQUAL": _comparison(tf.less_equal),
}
