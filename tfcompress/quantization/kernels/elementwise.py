"""The integer kernels that compute value by value: sums, products, conversions, comparisons.

A kernel is a function ``kernel(operation, inputs, grids, kernels)`` as in ``linear.py``. Real
numbers, QUANTIZE's input and DEQUANTIZE's output, are plain float32 tensors; DEQUANTIZE's output
has no grid.

XNNPACK leaves an addition, a product, a conversion or LEAKY_RELU to the built-in kernels where the
scales lie far apart, and everything in 16 bits. The other operations are left to them always; they
equal the reference kernels there. Those multiply in fixed point by factors made in float32; those
of TFLite Micro make them in float64. Two cases are not exact:

- Where a scale of ADD is 2**8 times that of its result or more, LiteRT's vector instructions wrap
  sums beyond 16 bits around: the result is 127 for what should be -128. Here it is -128.
- The last 1 to 15 values of an ADD in 16 bits, where their number is no multiple of 16, are
  computed without vector instructions. One in 100,000 of them differs by 1.

ADD and SUB in 16 bits take general scales (``pot_scale_int16`` is off).
"""

import math

import tensorflow as tf

from tfcompress.quantization.kernels import fixed_point
from tfcompress.quantization.kernels import requantization as rq
from tfcompress.quantization.kernels.grids import Grid, Integers, less_zero_point
from tfcompress.tflite.operations import BOUNDS


def _steps(integers):
    """Return integers counted from zero."""
    return tf.cast(less_zero_point(integers), tf.int32)


def _by_either(taken, by_xnnpack, built_in, inputs, grid, kernels):
    """Compute as XNNPACK does if it takes the operation, otherwise as the built-in kernel."""
    if kernels != "xnnpack" or grid.dtype != "INT8":
        return [built_in()]
    return [rq.chosen(taken, by_xnnpack, built_in, *(each.values for each in inputs))]


def _in_8_fractional_bits(values, factors, grid):
    """Multiply by factors with 8 fractional bits, as XNNPACK converts."""
    steps = tf.floor((values * tf.round(256.0 * factors) + 128.0) * 2.0**-8)
    return rq.clamped(steps, "NONE", grid, "xnnpack")


def _of_two(function):
    """Make the kernel of an operation of two tensors that broadcast."""

    @rq.traced_once
    def traced(*tensors, dtypes, **settings):
        first, second = (
            Integers(tensors[i], Grid(*tensors[i + 1 : i + 3], dtype))
            for i, dtype in zip((0, 3), dtypes, strict=False)
        )
        return function(first, second, Grid(*tensors[6:], dtypes[2]), **settings)

    def kernel(operation, inputs, grids, kernels):
        first, second = inputs
        alike = _alike(first.values.shape, second.values.shape)
        tensors = [tensor for each in inputs for tensor in (each.values, *each.grid[:2])]
        dtypes = tuple(grid.dtype for grid in (first.grid, second.grid, *grids))
        settings = {
            "activation": rq.fused_activation(operation),
            "kernels": kernels,
            "alike": alike,
        }
        result = traced(*tensors, *grids[0][:2], dtypes=dtypes, **settings)
        result.set_shape(tf.broadcast_static_shape(first.values.shape, second.values.shape))
        return [result]

    return kernel


def _sum_with(sign):
    """Make the function of ADD or SUB."""

    def function(first, second, grid, activation, kernels, alike):
        scales = first.grid.scale, second.grid.scale
        ratios = [tf.cast(rq.ratio(each, grid.scale), tf.float32) for each in scales]
        taken = tf.reduce_all([(each >= 2.0**-10) & (each < 2.0**8) for each in ratios])
        # Only ADD has vector instructions, in 16 bits without broadcasting.
        vectorized = sign > 0 and kernels == "xnnpack" and (alike or grid.dtype != "INT16")

        def by_xnnpack():
            values = _sum_in_21_bits(first, second, ratios, sign)
            return rq.clamped(values, activation, grid, "xnnpack")

        def built_in():
            values = _sum_in_fixed_point(first, second, grid, sign, vectorized)
            return rq.clamped(values, activation, grid, "reference")

        return _by_either(taken, by_xnnpack, built_in, (first, second), grid, kernels)[0]

    return function


def _sum_in_21_bits(first, second, ratios, sign):
    """Add with multipliers of up to 21 bits and one shift, halves up."""
    _, exponent = rq.fixed_point_multiplier(tf.cast(tf.maximum(*ratios), tf.float64))
    shift = 21 - exponent
    power = tf.cast(tf.bitwise.left_shift(tf.ones_like(shift), shift), tf.float32)
    factors = [tf.cast(tf.round(each * power), tf.int32) for each in ratios]
    factors[1] *= sign
    half = tf.bitwise.left_shift(tf.ones_like(shift), shift - 1)
    offset = half - first.grid.zero_point * factors[0] - second.grid.zero_point * factors[1]
    first, second = (tf.cast(each.values, tf.int32) for each in (first, second))
    return tf.bitwise.right_shift(first * factors[0] + second * factors[1] + offset, shift)


def _sum_in_fixed_point(first, second, grid, sign, vectorized):
    """Bring both to twice the larger scale with 20 or 15 more bits, add, and requantize."""
    more = 15 if grid.dtype == "INT16" else 20
    twice = 2.0 * tf.cast(tf.maximum(first.grid.scale, second.grid.scale), tf.float64)

    def common(integers):
        multiplier, shift = rq.fixed_point_multiplier(rq.ratio(integers.grid.scale, twice))
        values = _steps(integers)
        if vectorized:  # rounds once here
            return rq.multiply_fixed_point(values, multiplier, shift + more)
        return rq.multiply_fixed_point(values * (1 << more), multiplier, shift)

    real = rq.ratio(twice, grid.scale) * 2.0**-more
    return rq.rescaled(common(first) + sign * common(second), real)


def _alike(shape, other):
    """Return whether two shapes are equal as far as they are known."""
    return shape.rank == other.rank and all(
        size == size_of_other or (axis == 0 and None in {size, size_of_other})
        for axis, (size, size_of_other) in enumerate(zip(shape, other, strict=True))
    )


def _mul(first, second, grid, activation, kernels, alike):
    """Multiply two tensors."""
    real = rq.factor(kernels, grid.scale, first.grid.scale, second.grid.scale)
    multiplier = tf.cast(real, tf.float32)
    taken = (multiplier >= 2.0**-16) & (multiplier < 2.0**8)

    def by_xnnpack():
        product = rq.in_order(less_zero_point(first) * less_zero_point(second))
        return rq.clamped(tf.round(product * multiplier), activation, grid, "xnnpack")

    def built_in():
        values = rq.rescaled(_steps(first) * _steps(second), real)
        return rq.clamped(values, activation, grid, "reference")

    return _by_either(taken, by_xnnpack, built_in, (first, second), grid, kernels)[0]


def _div(operation, inputs, grids, kernels):
    """DIV by a reciprocal in fixed point."""
    first, second = inputs
    dividend, divisor = (tf.cast(less_zero_point(entry), tf.int64) for entry in inputs)
    dividend, divisor = dividend * tf.sign(divisor), tf.abs(divisor)
    zeros = fixed_point.leading_zeros(tf.maximum(divisor, 1))
    inverse = fixed_point.quotient_of_one_plus(tf.bitwise.left_shift(divisor, zeros) - (1 << 31))
    headroom = _sign_bits(dividend)
    unscaled = fixed_point.product(tf.bitwise.left_shift(dividend, headroom), inverse)
    scales = rq.product_in_float32(second.grid.scale, grids[0].scale)
    real = rq.quotient(tf.cast(first.grid.scale, tf.float64), scales)
    real = tf.cast(tf.cast(real, tf.float32), tf.float64)
    multiplier, shift = rq.fixed_point_multiplier(real)
    shift = tf.cast(shift, tf.int64) - (31 - zeros) - headroom
    high = fixed_point.product(unscaled, multiplier)
    steps = _shifted_as_a_processor_does(high, tf.maximum(-shift, 0))
    return [rq.clamped(steps, rq.fused_activation(operation), grids[0], "reference")]


def _shifted_as_a_processor_does(value, bits):
    """Divide by ``2**bits``, halves away from zero, where processors take only 5 of the bits.

    The kernel does not expect quotients so small. They come out large.
    """
    beyond = tf.bitwise.right_shift(value, tf.maximum(bits - 32, 0)) + tf.cast(value >= 0, tf.int64)
    return tf.where(bits < 32, fixed_point.shifted_right(value, tf.minimum(bits, 31)), beyond)


def _sign_bits(value):
    """Count how far 32-bit numbers can be shifted left without losing their sign."""
    magnitude = tf.where(value >= 0, 2 * value, -2 * value - 1)
    free = fixed_point.leading_zeros(tf.maximum(magnitude, 1))
    return tf.where(value == 0, tf.constant(31, tf.int64), free)


def _squared_difference(operation, inputs, grids, kernels):
    """SQUARED_DIFFERENCE: both on twice the larger scale with 7 more bits."""
    grid = grids[0]
    twice = tf.cast(2.0 * tf.maximum(*(entry.grid.scale for entry in inputs)), tf.float64)
    first, second = (
        rq.rescaled(_steps(entry) * (1 << 7), rq.ratio(entry.grid.scale, twice)) for entry in inputs
    )
    real = rq.ratio(twice * twice, grid.scale * 2.0**14)
    return [rq.on_grid(rq.rescaled((first - second) * (first - second), real), grid)]


def quantize(operation, inputs, grids, kernels):
    """Compute QUANTIZE: of real numbers, or of integers to another grid."""
    values, grid = inputs[0], grids[0]
    if not isinstance(values, Integers):
        if kernels == "xnnpack":
            # Both XNNPACK and the built-in kernel for 16 bits multiply by the rounded reciprocal.
            inverse = rq.quotient(tf.constant(1.0), grid.scale)
            steps = tf.round(rq.in_order(values) * inverse)
        else:
            steps = rq.round_half_away(rq.quotient(values, grid.scale))
        return [rq.clamped(steps, "NONE", grid, kernels)]
    real = rq.ratio(values.grid.scale, grid.scale)
    single = tf.cast(real, tf.float32)

    def by_xnnpack():
        return _in_8_fractional_bits(less_zero_point(values), single, grid)

    def built_in():
        return rq.on_grid(rq.rescaled(_steps(values), real), grid)

    if values.grid.dtype != grid.dtype:
        return [built_in()]
    taken = (single >= 2.0**-8) & (single <= 2.0**7)
    return _by_either(taken, by_xnnpack, built_in, inputs, grid, kernels)


def _cast(operation, inputs, grids, kernels):
    """CAST of integers to real numbers: QUANTIZE from a scale of 1 in the file."""
    real = rq.ratio(tf.constant(1.0), grids[0].scale)
    return [rq.on_grid(rq.rescaled(tf.cast(inputs[0], tf.int32), real), grids[0])]


def dequantize(operation, inputs, grids, kernels):
    """Compute DEQUANTIZE: the real numbers that integers mean."""
    return [rq.in_order(less_zero_point(inputs[0]) * inputs[0].grid.scale)]


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
    """Multiply by the scale, with eight more bits."""
    multiplier, shift = rq.fixed_point_multiplier(tf.cast(integers.grid.scale, tf.float64))
    steps = _steps(integers) * (1 << 8)
    high = rq.multiply_fixed_point(steps, multiplier, tf.zeros_like(shift))
    return rq.divide_by_power_of_two(high, tf.maximum(-shift, 0))


def _relu(lowest, highest):
    """Make the kernel of RELU and the like: move to the output's grid, then clamp."""

    def kernel(operation, inputs, grids, kernels):
        taken, grid = inputs[0], grids[0]
        if (kernels, highest) == ("micro", 6.0):  # clamps on the input's grid alone
            limits = rq.activation_limits("RELU6", taken.grid, "reference")
            return [tf.clip_by_value(taken.values, *limits)]
        steps = rq.rescaled(_steps(taken), rq.factor(kernels, grid.scale, taken.grid.scale))
        limits = [
            limit
            if math.isinf(limit)
            else rq.round_half_away(rq.quotient(tf.constant(limit), grid.scale))
            for limit in (lowest, highest)
        ]
        return [rq.on_grid(tf.clip_by_value(tf.cast(steps, tf.float32), *limits), grid)]

    return kernel


def _leaky_relu(operation, inputs, grids, kernels):
    """LEAKY_RELU."""
    taken, grid, alpha = inputs[0], grids[0], operation.options["alpha"]
    identity = tf.cast(rq.factor("xnnpack", grid.scale, taken.grid.scale), tf.float32)
    below = tf.cast(rq.product_in_float32(identity, alpha), tf.float32)

    def by_xnnpack():
        values = less_zero_point(taken)
        return _in_8_fractional_bits(values, tf.where(values >= 0, identity, below), grid)

    def built_in():
        steep = tf.constant(abs(alpha), tf.float32)
        factors = (rq.factor(kernels, grid.scale, taken.grid.scale, each) for each in (steep, 1.0))
        negative, positive = (rq.rescaled(_steps(taken), real) for real in factors)
        negative = -negative if alpha < 0 else negative
        return rq.on_grid(tf.where(_steps(taken) >= 0, positive, negative), grid)

    taken_over = (identity >= 2.0**-8) & (identity <= 2.0**7)
    taken_over &= (below >= -(2.0**7) + 2.0**-8) & (below <= 2.0**7)
    taken_over &= tf.abs(below) >= 2.0**-8
    return _by_either(taken_over, by_xnnpack, built_in, inputs, grid, kernels)


def _prelu(operation, inputs, grids, kernels):
    """PRELU."""
    taken, slope = inputs
    grid, scale = grids[0], taken.grid.scale
    values = _steps(taken)
    positive = rq.rescaled(values, rq.factor(kernels, grid.scale, scale))
    below = rq.factor(kernels, grid.scale, scale, slope.grid.scale)
    negative = rq.rescaled(values * _steps(slope), below)
    return [rq.on_grid(tf.where(values >= 0, positive, negative), grid)]


def _abs(operation, inputs, grids, kernels):
    """ABS."""
    real = rq.factor(kernels, grids[0].scale, inputs[0].grid.scale)
    return [rq.on_grid(rq.rescaled(tf.abs(_steps(inputs[0])), real), grids[0])]


ELEMENTWISE = {
    "ADD": _of_two(_sum_with(sign=1)),
    "SUB": _of_two(_sum_with(sign=-1)),
    "MUL": _of_two(_mul),
    "DIV": _div,
    "SQUARED_DIFFERENCE": _squared_difference,
    "CAST": _cast,
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
    "EQUAL": _comparison(tf.equal, rescales_16_bits=True),
    "NOT_EQUAL": _comparison(tf.not_equal, rescales_16_bits=True),
    "GREATER": _comparison(tf.greater),
    "GREATER_EQUAL": _comparison(tf.greater_equal),
    "LESS": _comparison(tf.less),
    "LESS_EQUAL": _comparison(tf.less_equal),
    **{name: _relu(*bounds) for name, bounds in BOUNDS.items()},
    "LEAKY_RELU": _leaky_relu,
    "PRELU": _prelu,
    "ABS": _abs,
}
