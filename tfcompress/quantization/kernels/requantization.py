"""From the sums of an integer kernel to the integers of its output, as each kernel set rounds.

XNNPACK multiplies in float32 and rounds halves to even. The reference kernels multiply by a
31-bit fixed-point number and a power of two, and round twice: the high half of the doubled
product, then the shift, halves away from zero (gemmlowp's fixed point, Jacob et al. 2018,
https://arxiv.org/abs/1712.05877, section 2.3). With 16-bit activations both kernel sets keep 15
bits of the multiplier and round once, halves up.

Scales are tensors that may change from run to run. Everything that is made of them is computed in
the graph, in float64 where a kernel uses double. Divisions are ``divide_no_nan``: TensorFlow
replaces a plain division by a constant with a product with its reciprocal, which rounds
differently. It also multiplies small factors first, whatever the order in the code: casts between
products, and ``in_order``, keep them as they are.
"""

import functools
import math
from collections.abc import Callable

import tensorflow as tf

from tfcompress.quantization.kernels.grids import Grid, integer_range
from tfcompress.tflite.operations import BOUNDS

_SMALLEST_SHIFT = -31
_SMALL = 1024  # values of one example


def chosen(condition, first, second, *tensors):
    """Compute ``first`` where a condition holds, otherwise ``second``, of the same shape and type.

    Where the ``tensors`` that they are computed from are small, both are computed: in graphs of
    hundreds of operations, compiling the branches takes longest.
    """
    sizes = [tensor.shape[1:].num_elements() for tensor in tensors]
    is_small = None not in sizes and sum(sizes) <= _SMALL
    if is_small and not tf.executing_eagerly():
        return tf.where(condition, first(), second())
    return tf.cond(condition, first, second)


def traced_once(function: Callable) -> Callable:
    """Trace a function of tensors once for all layers: of their shapes it knows the ranks alone.

    Keyword arguments are no tensors; there is a trace for each of their values. A graph calls it
    by one node. What it returns has no static shape.
    """
    compiled = tf.function(
        function, autograph=False, experimental_attributes={"_noinline": True}
    ).get_concrete_function

    @functools.cache
    def traced(specs, settings):
        with tf.init_scope():
            return compiled(
                *(tf.TensorSpec([None] * rank, dtype) for rank, dtype in specs), **dict(settings)
            )

    @functools.wraps(function)
    def call(*tensors, **settings):
        tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
        specs = tuple((len(tensor.shape), tensor.dtype) for tensor in tensors)
        return traced(specs, tuple(sorted(settings.items())))(*tensors, **settings)

    return call


def quotient(dividend, divisor):
    """Divide, correctly rounded, also where the divisor is a constant of the graph."""
    return tf.math.divide_no_nan(dividend, divisor)


def in_order(values):
    """Return a tensor that is computed before what is multiplied by it, or added to it."""
    return tf.raw_ops.EnsureShape(input=values, shape=values.shape)


def product_in_float32(first, second):
    """Multiply two float32 scales in float32, and return the rounded product as float64."""
    # The product of two float32 numbers is exact in float64, so that one rounding remains.
    return tf.cast(tf.cast(product_in_float64(first, second), tf.float32), tf.float64)


def product_in_float64(first, second):
    """Multiply two float32 scales, which is exact in float64."""
    return tf.cast(first, tf.float64) * tf.cast(second, tf.float64)


def ratio(scale, output_scale):
    """Divide a scale by the output's scale in float64."""
    return quotient(tf.cast(scale, tf.float64), tf.cast(output_scale, tf.float64))


def factor(kernels, output_scale, scale, other=1.0):
    """Make the factor ``scale * other / output_scale``, in float32 but in TFLite Micro."""
    if kernels == "micro":
        return ratio(product_in_float64(scale, other), output_scale)
    # A quotient of float32 numbers may be rounded to float64 first: the second rounding finds
    # what one rounding would have.
    quotients = ratio(product_in_float32(scale, other), output_scale)
    return tf.cast(tf.cast(quotients, tf.float32), tf.float64)


def fused_activation(operation) -> str:
    """Return the activation that is fused into an operation, "NONE" if there is none."""
    return operation.options.get("fused_activation_function", "NONE")


def fixed_point_multiplier(real):
    """Write float64 numbers as ``multiplier * 2**(shift - 31)``, as ``std::frexp`` splits them.

    The multiplier, int64, lies in [2**30, 2**31), and the shift is int32; both are 0 for a number
    below about 2**-32.

    Example:
    >>> multiplier, shift = fixed_point_multiplier(tf.constant(0.75, tf.float64))
    >>> int(multiplier), int(shift)
    (1610612736, 0)
    """
    bits = tf.bitcast(real, tf.int64)
    shift = tf.cast(tf.bitwise.right_shift(bits, tf.constant(52, tf.int64)), tf.int32) - 1022
    leading_one = tf.constant(1 << 52, tf.int64)
    fraction = tf.bitwise.bitwise_or(tf.bitwise.bitwise_and(bits, leading_one - 1), leading_one)
    # 31 of the 53 bits stay; halves round up.
    multiplier = tf.bitwise.right_shift(fraction + (1 << 21), tf.constant(22, tf.int64))
    carried = tf.equal(multiplier, 1 << 31)
    multiplier = tf.where(carried, tf.constant(1 << 30, tf.int64), multiplier)
    shift += tf.cast(carried, tf.int32)
    vanished = shift < _SMALLEST_SHIFT
    return tf.where(vanished, tf.zeros_like(multiplier), multiplier), tf.where(vanished, 0, shift)


def multiply_fixed_point(values, multiplier, shift, vectorized=False):
    """Multiply int32 tensors by ``multiplier * 2**(shift - 31)``, rounding twice.

    Where ``vectorized`` is true, the second rounding takes halves up, as LiteRT's vector
    instructions do, instead of away from zero.
    """
    left, right = tf.maximum(shift, 0), tf.maximum(-shift, 0)
    shifted = values * tf.bitwise.left_shift(tf.ones_like(left), left)
    product = tf.cast(shifted, tf.int64) * multiplier
    high = tf.bitwise.right_shift(product + (1 << 30), tf.constant(31, tf.int64))
    return divide_by_power_of_two(tf.cast(high, tf.int32), right, vectorized)


def rescaled(values, real):
    """Multiply int32 tensors by a float64 factor, as the built-in kernels do."""
    return multiply_fixed_point(values, *fixed_point_multiplier(real))


def divide_by_power_of_two(values, exponent, vectorized=False):
    """Divide integers by ``2**exponent`` and round, halves away from zero.

    Example:
    >>> divide_by_power_of_two(tf.constant([6, -6, 5]), tf.constant(2)).numpy()
    array([ 2, -2,  1], dtype=int32)
    """
    one = tf.ones_like(exponent)
    half = tf.bitwise.right_shift(tf.bitwise.left_shift(one, exponent), one)
    # Halves of negative numbers go down by one less. All bits of the correction are set, or none.
    down = tf.cast(tf.logical_and(exponent > 0, tf.logical_not(vectorized)), tf.int32)
    correction = tf.bitwise.bitwise_and(tf.bitwise.right_shift(values, 31), -down)
    return tf.bitwise.right_shift(values + half + correction, exponent)


def multiply_16_bit(values, multiplier, shift):
    """Multiply int64 tensors within 48 bits as kernels with 16-bit activations do; shift <= 14."""
    reduced = tf.where(
        multiplier < 0x7FFF0000,
        tf.bitwise.right_shift(multiplier + (1 << 15), tf.constant(16, tf.int64)),
        tf.constant(0x7FFF, tf.int64),
    )
    total = tf.cast(15 - shift, tf.int64)
    half = tf.bitwise.left_shift(tf.ones_like(total), total - 1)
    result = tf.bitwise.right_shift(values * reduced + half, total)
    return tf.cast(tf.cast(result, tf.int32), tf.int64)


def activation_limits(activation: str, grid: Grid, kernels: str):
    """Return the integers between which a kernel clamps its output.

    XNNPACK adds the zero point to a limit before it rounds halves to even; the reference kernels
    round halves away from zero and add it then.

    Example:
    >>> relu6 = Grid(tf.constant(0.05), tf.constant(-100), "INT8")
    >>> [float(limit) for limit in activation_limits("RELU6", relu6, "reference")]
    [-100.0, 20.0]
    """
    lowest, highest = (tf.constant(float(end)) for end in integer_range(grid.dtype))
    if activation == "NONE":
        return lowest, highest
    if activation not in BOUNDS:
        raise ValueError(
            f"The integer kernels fuse the activations {', '.join(BOUNDS)}. "
            f"Received: {activation}. Write it as an operation of its own."
        )
    zero_point = tf.cast(grid.zero_point, tf.float32)

    def integer(real):
        if not real:
            return zero_point
        steps = quotient(tf.constant(real), grid.scale)
        if kernels == "xnnpack":
            return tf.round(steps + zero_point)
        return round_half_away(steps) + zero_point

    smallest, largest = BOUNDS[activation]
    if not math.isinf(largest):
        highest = tf.minimum(highest, integer(largest))
    return tf.maximum(lowest, integer(smallest)), highest


def round_half_away(values):
    """Round to whole numbers, halves away from zero, as ``std::round``.

    Example:
    >>> round_half_away(tf.constant([0.5, -2.5, 0.49999997])).numpy()
    array([ 1., -3.,  0.], dtype=float32)
    """
    whole = tf.where(values < 0, tf.math.ceil(values), tf.math.floor(values))
    away = tf.cast(tf.abs(values - whole) >= 0.5, values.dtype)
    return whole + tf.sign(values) * away


def clamped(values, activation: str, grid: Grid, kernels: str):
    """Add the output's zero point and clamp to what the type and the activation allow."""
    lowest, highest = activation_limits(activation, grid, kernels)
    shifted = tf.cast(values + tf.cast(grid.zero_point, values.dtype), tf.float32)
    # One pass over the values; tf.clip_by_value makes two.
    return tf.raw_ops.ClipByValue(t=shifted, clip_value_min=lowest, clip_value_max=highest)


def on_grid(steps, grid: Grid):
    """Add the zero point and keep the type's range, as the built-in kernels do."""
    return clamped(steps, "NONE", grid, "reference")
