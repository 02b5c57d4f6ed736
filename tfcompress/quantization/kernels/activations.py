"""Activations and other functions of one tensor on integers.

With 8 bits most of them are tables (``tables.py``). XNNPACK takes LOGISTIC, TANH and ELU and
leaves the others to the built-in kernels, which equal the reference kernels. Those differ in
LOGISTIC and TANH with 16 bits where the input's scale is a power of two. TFLite Micro computes
RSQRT with 16 bits as with 8.
"""

import numpy as np
import tensorflow as tf

from tfcompress.quantization.kernels import fixed_point, tables
from tfcompress.quantization.kernels import requantization as rq
from tfcompress.quantization.kernels.grids import integer_range, less_zero_point


def _table_of_sigmoids():
    """Sigmoids of n / 24 with 16 fractional bits, raised by half of what a chord lies below."""

    def sigmoid(place):
        return 65536 / (1 + np.exp(-place / 24))

    places = np.arange(256)
    values, following = sigmoid(places), sigmoid(places + 1)
    below = sigmoid(places + 0.5) - (values + following) / 2
    table = np.rint(values + below / 2).astype(np.int64)
    table[-1] = 65535
    return table


_SIGMOIDS = _table_of_sigmoids()
_FULL = 255  # the last entry, from which on the sigmoid is 1
_LARGEST_POWER_OF_TWO_ERROR = 1e-3


def _from_table(function, for_xnnpack=False):
    """Make the kernel of a function of values and the output's grid that is looked up."""

    def kernel(operation, inputs, grids, kernels):
        taken, grid = inputs[0], grids[0]
        table = tables.table_of(function, taken.grid, grid, kernels if for_xnnpack else "reference")
        if grid.dtype == "INT16":
            return [
                tf.cast(tables.interpolated(tf.cast(taken.values, tf.int32), table), tf.float32)
            ]
        return [tables.looked_up(taken, table)]

    return kernel


def _log(value, grid):
    """Compute the logarithm; what has none becomes the smallest output."""
    lowest = float(integer_range(grid.dtype)[0]) - tf.cast(grid.zero_point, tf.float32)
    safe = tf.where(value > 0, value, tf.ones_like(value))
    return tf.where(value > 0, tables.in_double(tf.math.log)(safe), lowest * grid.scale)


def _gelu(operation, inputs, grids, kernels):
    """GELU, exact or with tanh."""
    function = _gelu_with_tanh if operation.options.get("approximate") else _gelu_with_erfc
    return _from_table(function)(operation, inputs, grids, kernels)


def _gelu_with_erfc(value, grid):
    """Compute GELU in float32, step by step as the kernel."""
    return 0.5 * value * tables.in_double(tf.math.erfc)(value * -np.float32(np.sqrt(0.5)))


def _gelu_with_tanh(value, grid):
    """Compute GELU with tanh in float32, step by step as the kernel."""
    cubic = rq.in_order(rq.in_order(0.044715 * value) * value) * value
    inner = np.float32(np.sqrt(2 / np.pi)) * (value + cubic)
    return 0.5 * value * (1.0 + tables.in_double(tf.tanh)(inner))


def _interpolated_sigmoid(magnitude, bits):
    """Interpolate the sigmoid of ``magnitude / (24 * 2**bits)`` with ``16 + bits`` bits."""
    sigmoids = tf.constant(_SIGMOIDS)
    place = tf.minimum(tf.bitwise.right_shift(magnitude, tf.constant(bits, tf.int64)), _FULL - 1)
    part = tf.bitwise.bitwise_and(magnitude, tf.constant((1 << bits) - 1, tf.int64))
    below, above = tf.gather(sigmoids, place), tf.gather(sigmoids, place + 1)
    return tf.bitwise.left_shift(below, tf.constant(bits, tf.int64)) + part * (above - below)


def _power_of_two(scale, largest):
    """Whether a scale is almost ``2**(shift - 12)``, shift at most ``largest``, and the shift."""
    scale = tf.cast(scale, tf.float64)
    logarithm = tf.cast(tf.math.log(scale), tf.float32) * tf.constant(1 / np.log(2), tf.float32)
    power = rq.round_half_away(logarithm)
    shift = tf.cast(power, tf.int64) + 12
    is_power = tf.abs(logarithm - power) < _LARGEST_POWER_OF_TWO_ERROR
    return is_power & (shift >= 0) & (shift <= largest), tf.clip_by_value(shift, 0, largest)


def _scaled_for_sigmoids(integers, largest_power):
    """Multiply 16-bit integers so that 1 is ``3 * 4096``, as far as 15 bits of a factor go."""
    scale = tf.cast(integers.grid.scale, tf.float64)
    is_power, left = _power_of_two(scale, largest_power)
    real = scale * 12288.0
    limit = tf.constant(32767 / 2, tf.float64)
    shift = tf.zeros([], tf.int64)
    for _ in range(31):
        small = real <= limit
        shift += tf.cast(small, tf.int64)
        real = tf.where(small, real * 2.0, real)
    power_factor = 3 * tf.bitwise.left_shift(tf.ones_like(left), left)
    factor = tf.where(is_power, power_factor, tf.cast(real, tf.int64))
    shift = tf.where(is_power, tf.zeros_like(shift), shift)
    half = tf.where(shift > 0, tf.bitwise.left_shift(tf.ones_like(shift), shift - 1), 0)
    values = tf.cast(integers.values, tf.int64)
    return tf.bitwise.right_shift(values * factor + half, shift)


def _logistic_of_16_bits(integers):
    """LOGISTIC with 16 bits."""
    value = _scaled_for_sigmoids(integers, largest_power=0)
    magnitude = tf.abs(value)
    full = tf.bitwise.right_shift(magnitude, tf.constant(9, tf.int64)) >= _FULL
    result = tf.where(
        full, tf.constant(0x7FFF << 10, tf.int64), _interpolated_sigmoid(magnitude, 9)
    )
    result = tf.where(value >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1)
    return tf.cast(tf.bitwise.right_shift(result, tf.constant(10, tf.int64)), tf.float32)


def _tanh_of_16_bits(integers):
    """TANH with 16 bits: twice the sigmoid of twice the value, less one."""
    value = _scaled_for_sigmoids(integers, largest_power=1)
    magnitude = tf.abs(value)
    full = tf.bitwise.right_shift(magnitude, tf.constant(8, tf.int64)) >= _FULL
    result = tf.where(full, tf.constant(0xFFFF << 8, tf.int64), _interpolated_sigmoid(magnitude, 8))
    result = tf.where(value >= 0, result - (1 << 23) + (1 << 7), -result + (1 << 23) + (1 << 7) - 1)
    return tf.cast(tf.bitwise.right_shift(result, tf.constant(8, tf.int64)), tf.float32)


def _sigmoid_like(function, of_16_bits, in_fixed_point, largest_power):
    """Make the kernel of LOGISTIC or TANH.

    With 16 bits, LiteRT's own kernels compute in fixed point where the scale is a power of two.
    """
    of_8_bits = _from_table(tables.in_double(function), for_xnnpack=True)

    def kernel(operation, inputs, grids, kernels):
        taken = inputs[0]
        if grids[0].dtype != "INT16":
            return of_8_bits(operation, inputs, grids, kernels)
        if kernels != "xnnpack":
            return [of_16_bits(taken)]
        is_power, shift = _power_of_two(taken.grid.scale, largest_power)

        def of_power():
            values = tf.cast(taken.values, tf.int64)
            values = _limited(values * tf.bitwise.left_shift(tf.ones_like(shift), shift))
            return tf.cast(in_fixed_point(values, whole_bits=3, word=15), tf.float32)

        return [tf.cond(is_power, of_power, lambda: of_16_bits(taken))]

    return kernel


def _hard_swish(operation, inputs, grids, kernels):
    """HARD_SWISH in 16-bit fixed point."""
    taken, grid = inputs[0], grids[0]
    fine = taken.grid.scale * tf.constant(1 / 128)  # a power of two: exact

    def in_15_bits(real):
        multiplier, shift = rq.fixed_point_multiplier(tf.cast(real, tf.float64))
        reduced = tf.bitwise.right_shift(multiplier + (1 << 15), tf.constant(16, tf.int64))
        return tf.minimum(reduced, 32767), tf.cast(shift, tf.int64)

    output_factor, output_shift = in_15_bits(rq.quotient(fine, grid.scale))
    relu_factor, relu_shift = in_15_bits(fine * tf.constant(32768 / 3))
    steps = tables.every_integer() - tf.cast(taken.grid.zero_point, tf.float32)
    values = tf.cast(steps, tf.int64) * 128
    scaled = _high_product(values, output_factor)

    left = tf.maximum(relu_shift, 0)
    relu = _limited(values * tf.bitwise.left_shift(tf.ones_like(left), tf.maximum(left - 1, 0)))
    relu = _high_product(relu, relu_factor)
    relu = tf.where(left > 0, _limited(relu * 2), relu)
    relu = fixed_point.shifted_right(relu, tf.maximum(-relu_shift, 0))
    relu = tf.bitwise.right_shift(relu + (1 << 15), tf.constant(1, tf.int64))
    product = tf.truncatediv(relu * scaled, tf.constant(1 << 15, tf.int64))
    steps = fixed_point.shifted_right(product, -output_shift)
    return [tables.looked_up(taken, rq.on_grid(steps, grid))]


def _limited(value):
    """Saturate to 16 bits."""
    return tf.clip_by_value(value, -32768, 32767)


def _high_product(first, second):
    """Multiply 16-bit fixed-point numbers, halves away from zero."""
    half = tf.constant(1 << 14, tf.int64)
    return _limited(tf.bitwise.right_shift(first * second + half, tf.constant(15, tf.int64)))


def _neg(operation, inputs, grids, kernels):
    """NEG of the integers themselves; the smallest one stays."""
    lowest, highest = integer_range(grids[0].dtype)
    negative = -inputs[0].values
    return [tf.where(negative > highest, tf.constant(float(lowest)), negative)]


def inverse_square_root(value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Find ``multiplier * 2**(shift - 31)`` near ``value ** -0.5``, in five steps of Newton's."""
    small = value <= 1
    value = tf.maximum(value, 2)
    large = value >= 1 << 29
    value = tf.where(large, value // 4, value)
    pairs = (fixed_point.leading_zeros(value) - 1) // 2 - 1
    shift = 11 + tf.cast(large, tf.int64) - pairs
    value = tf.bitwise.left_shift(value, 2 * pairs)
    halved = fixed_point.shifted_right(tf.bitwise.right_shift(value, tf.constant(1, tf.int64)), 1)
    x = fixed_point.constant(1.0, 3) * tf.ones_like(value)
    for _ in range(5):
        cube = fixed_point.product(fixed_point.product(x, x), x)
        cube = fixed_point.shifted_left(cube, 6)
        difference = fixed_point.product(fixed_point.constant(1.5, 3), x)
        difference -= fixed_point.product(halved, cube)
        x = fixed_point.shifted_left(difference, 3)
    x = fixed_point.product(x, fixed_point.constant(0.5**0.5, 0))
    x = tf.bitwise.left_shift(x, tf.maximum(-shift, 0))
    shift = -tf.maximum(shift, 0)
    return (
        tf.where(small, tf.constant((1 << 31) - 1, tf.int64), x),
        tf.where(small, tf.zeros_like(shift), shift),
    )


def _sqrt(operation, inputs, grids, kernels):
    """SQRT, cut off to whole steps; devices refuse negative numbers, here they become 0."""
    real = tf.maximum(less_zero_point(inputs[0]), 0.0) * inputs[0].grid.scale
    return [rq.on_grid(tf.floor(rq.quotient(tf.sqrt(real), grids[0].scale)), grids[0])]


def _rsqrt(operation, inputs, grids, kernels):
    """RSQRT."""
    taken, grid = inputs[0], grids[0]
    if kernels == "micro":
        scale = tf.sqrt(tf.cast(taken.grid.scale, tf.float64)) * tf.cast(grid.scale, tf.float64)
        return [_inverse_root(less_zero_point(taken), scale, grid)]
    if grid.dtype == "INT16":
        return _from_table(_inverse_root_of)(operation, inputs, grids, kernels)
    scale = rq.product_in_float32(tf.sqrt(taken.grid.scale), grid.scale)
    steps = tables.every_integer() - tf.cast(taken.grid.zero_point, tf.float32)
    return [tables.looked_up(taken, _inverse_root(steps, scale, grid))]


def _inverse_root_of(value, grid):
    """Compute the inverse square root; what has none becomes the largest output."""
    safe = tf.where(value > 0, value, tf.ones_like(value))
    root = rq.quotient(tf.ones_like(safe), tf.sqrt(safe))
    return tf.where(value > 0, root, 32767.0 * grid.scale)


def _inverse_root(steps, scale, grid):
    """Divide by the square roots of steps and by a float64 scale; 0 has the largest result."""
    more_bits = 20
    multiplier, shift = rq.fixed_point_multiplier(rq.quotient(tf.ones_like(scale), scale))
    steps = tf.maximum(tf.cast(steps, tf.int64), 0)
    factor, factor_shift = inverse_square_root(steps)
    fine = fixed_point.scaled(tf.ones_like(factor), factor, factor_shift + more_bits)
    result = rq.on_grid(fixed_point.scaled(fine, multiplier, shift - more_bits), grid)
    largest = tf.constant(float(integer_range(grid.dtype)[1]))
    return tf.where(steps == 0, largest, result)


def _l2_normalization(operation, inputs, grids, kernels):
    """L2_NORMALIZATION along the last dimension."""
    steps = tf.cast(less_zero_point(inputs[0]), tf.int64)
    squares = tf.reduce_sum(steps * steps, -1, keepdims=True)
    multiplier, shift = inverse_square_root(squares)
    result = fixed_point.scaled(steps, multiplier, shift + 7)
    return [tf.cast(tf.clip_by_value(result, *integer_range("INT8")), tf.float32)]


ACTIVATIONS = {
    "LOGISTIC": _sigmoid_like(tf.sigmoid, _logistic_of_16_bits, fixed_point.sigmoid, 0),
    "TANH": _sigmoid_like(tf.tanh, _tanh_of_16_bits, fixed_point.hyperbolic_tangent, 1),
    "ELU": _from_table(tables.in_double(tf.nn.elu), for_xnnpack=True),
    "EXP": _from_table(tables.in_double(tf.exp)),
    "LOG": _from_table(_log),
    "GELU": _gelu,
    "HARD_SWISH": _hard_swish,
    "NEG": _neg,
    "SQRT": _sqrt,
    "RSQRT": _rsqrt,
    "L2_NORMALIZATION": _l2_normalization,
}
