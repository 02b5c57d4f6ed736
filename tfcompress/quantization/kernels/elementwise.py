"""The integer kernels that compute value by value: ADD, SUB, MUL, QUANTIZE, DEQUANTIZE.

A kernel is a function ``kernel(operation, inputs, grids, kernels)`` as in
``tfcompress.quantization.kernels.linear``. Real numbers, QUANTIZE's input and DEQUANTIZE's output,
are plain float32 tensors; DEQUANTIZE's output has no grid.

XNNPACK leaves an addition, a product or a conversion to the built-in kernels where the scales lie
far apart, and everything in 16 bits. Two cases are not exact:

- Where a scale of ADD is 2**8 times that of its result or more, LiteRT's vector instructions wrap
  sums beyond 16 bits around: the result is 127 for what should be -128. Here it is -128.
- The last 1 to 15 values of an ADD in 16 bits, where their number is no multiple of 16, are
  computed without vector instructions. One in 100,000 of them differs by 1.

ADD and SUB in 16 bits take general scales (``pot_scale_int16`` is off).
"""

import tensorflow as tf

from tfcompress.quantization.kernels import requantization as rq
from tfcompress.quantization.kernels.grids import Integers, less_zero_point


def add(operation, inputs, grids, kernels):
    """Compute ADD of two tensors that broadcast."""
    return [_sum(operation, inputs, grids[0], kernels, sign=1)]


def sub(operation, inputs, grids, kernels):
    """Compute SUB of two tensors that broadcast."""
    return [_sum(operation, inputs, grids[0], kernels, sign=-1)]


def mul(operation, inputs, grids, kernels):
    """Compute MUL of two tensors that broadcast."""
    first, second = inputs
    grid = grids[0]
    activation = operation.options["fused_activation_function"]
    real = rq.factor_in_float32(grid.scale, first.grid.scale, second.grid.scale)
    multiplier = tf.cast(real, tf.float32)
    taken = (multiplier >= 2.0**-16) & (multiplier < 2.0**8)

    def in_float32():
        values = tf.round(less_zero_point(first) * less_zero_point(second) * multiplier)
        return rq.clamped(values, activation, grid, "xnnpack")

    def in_fixed_point():
        return _product_in_fixed_point(operation, inputs, grid, real)

    return [_either(taken, in_float32, in_fixed_point, grid, kernels)]


def mul_by_float64_factor(operation, inputs, grids, kernels):
    """Compute MUL as TFLite Micro does: as the built-in kernel, with a factor made in float64."""
    del kernels
    real = rq.factor_in_float64(grids[0].scale, *(each.grid.scale for each in inputs))
    return [_product_in_fixed_point(operation, inputs, grids[0], real)]


def _product_in_fixed_point(operation, inputs, grid, real):
    """Multiply two tensors and their product by a float64 factor."""
    first, second = (tf.cast(less_zero_point(each), tf.int32) for each in inputs)
    values = rq.multiply_fixed_point(first * second, *rq.fixed_point_multiplier(real))
    activation = operation.options["fused_activation_function"]
    return rq.clamped(values, activation, grid, "reference")


def quantize(operation, inputs, grids, kernels):
    """Compute QUANTIZE: of real numbers, or of integers to another grid."""
    del operation
    values, grid = inputs[0], grids[0]
    if isinstance(values, Integers):
        return [_requantized(values, grid, kernels)]
    if kernels == "xnnpack":
        # Both XNNPACK and the built-in kernel for 16 bits multiply by the rounded reciprocal.
        steps = tf.round(values * rq.quotient(tf.constant(1.0), grid.scale))
    else:
        steps = rq.round_half_away(rq.quotient(values, grid.scale))
    return [rq.clamped(steps, "NONE", grid, kernels)]


def dequantize(operation, inputs, grids, kernels):
    """Compute DEQUANTIZE: the real numbers that integers mean."""
    del operation, grids, kernels
    return [less_zero_point(inputs[0]) * inputs[0].grid.scale]


def _either(taken, by_xnnpack, built_in, grid, kernels):
    """Compute as XNNPACK does if it takes the operation, otherwise as the built-in kernel."""
    if kernels != "xnnpack" or grid.dtype != "INT8":
        return built_in()
    return tf.cond(taken, by_xnnpack, built_in)


def _sum(operation, inputs, grid, kernels, sign):
    """Compute the sum or the difference of two tensors."""
    first, second = inputs
    activation = operation.options["fused_activation_function"]
    ratios = [tf.cast(rq.ratio(each.grid.scale, grid.scale), tf.float32) for each in inputs]
    taken = tf.reduce_all([(each >= 2.0**-10) & (each < 2.0**8) for each in ratios])

    def by_xnnpack():
        values = _sum_in_21_bits(first, second, ratios, sign)
        return rq.clamped(values, activation, grid, "xnnpack")

    def built_in():
        values = _sum_in_fixed_point(first, second, grid, sign, kernels)
        return rq.clamped(values, activation, grid, "reference")

    return _either(taken, by_xnnpack, built_in, grid, kernels)


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


def _sum_in_fixed_point(first, second, grid, sign, kernels):
    """Bring both to twice the larger scale with 20 or 15 more bits, add, and requantize."""
    more = 15 if grid.dtype == "INT16" else 20
    twice = 2.0 * tf.cast(tf.maximum(first.grid.scale, second.grid.scale), tf.float64)
    # Only ADD has vector instructions, in 16 bits without broadcasting. They round once here.
    vectorized = sign > 0 and kernels == "xnnpack"
    if grid.dtype == "INT16":
        vectorized = vectorized and _alike(first.values.shape, second.values.shape)

    def common(integers):
        real = rq.quotient(tf.cast(integers.grid.scale, tf.float64), twice)
        multiplier, shift = rq.fixed_point_multiplier(real)
        values = tf.cast(less_zero_point(integers), tf.int32)
        if vectorized:
            return rq.multiply_fixed_point(values, multiplier, shift + more)
        return rq.multiply_fixed_point(values * (1 << more), multiplier, shift)

    real = rq.ratio(twice, grid.scale) * 2.0**-more
    return rq.multiply_fixed_point(
        common(first) + sign * common(second), *rq.fixed_point_multiplier(real)
    )


def _alike(shape, other):
    """Return whether two shapes are equal as far as they are known."""
    return shape.rank == other.rank and all(
        size == size_of_other or (axis == 0 and None in {size, size_of_other})
        for axis, (size, size_of_other) in enumerate(zip(shape, other, strict=True))
    )


def _requantized(integers, grid, kernels):
    """Move integers to another grid."""
    real = rq.ratio(integers.grid.scale, grid.scale)
    values = less_zero_point(integers)

    def by_xnnpack():
        multiplier = tf.round(256.0 * tf.cast(real, tf.float32))
        steps = tf.floor((values * multiplier + 128.0) * 2.0**-8)
        return rq.clamped(steps, "NONE", grid, "xnnpack")

    def built_in():
        steps = rq.multiply_fixed_point(tf.cast(values, tf.int32), *rq.fixed_point_multiplier(real))
        return rq.clamped(steps, "NONE", grid, "reference")

    single = tf.cast(real, tf.float32)
    taken = (single >= 2.0**-8) & (single <= 2.0**7)
    if integers.grid.dtype != grid.dtype:
        return built_in()
    return _either(taken, by_xnnpack, built_in, grid, kernels)


ELEMENTWISE = {
    "ADD": add,
    "DEQUANTIZE": dequantize,
    "MUL": mul,
    "QUANTIZE": quantize,
    "SUB": sub,
}
MICRO_ELEMENTWISE = {"MUL": mul_by_float64_factor}
