"""Numbers of a sign, some whole and some fractional bits in 32-bit integers, and functions of them.

The reference kernels compute softmax and its like without floats. A number with ``n`` whole bits
is an integer times ``2**(n - 31)``; here it is held in int64, so that nothing overflows on the way,
and saturated where the kernels saturate.

Source: Jacob et al. 2018 (https://arxiv.org/abs/1712.05877), appendix; Taylor series around -1/8
for the exponential, Newton's iteration for the quotient.
"""

import math

import tensorflow as tf

_LARGEST = (1 << 31) - 1
_SMALLEST = -(1 << 31)


def constant(real: float, whole_bits: int) -> tf.Tensor:
    """Write a real number with ``whole_bits`` whole bits."""
    return tf.constant(min(round(real * 2.0 ** (31 - whole_bits)), _LARGEST), tf.int64)


def saturated(value: tf.Tensor) -> tf.Tensor:
    """Limit to what 32 bits hold."""
    return tf.clip_by_value(value, _SMALLEST, _LARGEST)


def product(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Multiply, halves away from zero; the whole bits of the factors add up.

    Args:
        first: int64 tensor within 32 bits.
        second: likewise.

    Returns:
        int64 tensor within 32 bits.
    """
    return saturated(tf.bitwise.right_shift(first * second + (1 << 30), tf.constant(31, tf.int64)))


def shifted_right(value: tf.Tensor, bits: int | tf.Tensor) -> tf.Tensor:
    """Divide by ``2**bits``, halves away from zero.

    Args:
        value: int64 tensor.
        bits: int or int64 tensor, 0 or more.

    Returns:
        int64 tensor.
    """
    bits = tf.convert_to_tensor(bits, tf.int64)
    mask = tf.bitwise.left_shift(tf.ones_like(bits), bits) - 1
    rest = tf.bitwise.bitwise_and(value, mask)
    limit = tf.bitwise.right_shift(mask, tf.constant(1, tf.int64)) + tf.cast(value < 0, tf.int64)
    return tf.bitwise.right_shift(value, bits) + tf.cast(rest > limit, tf.int64)


def shifted_left(value: tf.Tensor, bits: int) -> tf.Tensor:
    """Multiply by ``2**bits`` and saturate."""
    return saturated(value * (1 << bits))


def half_sum(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Halve a sum, halves away from zero."""
    return shifted_right(first + second, 1)


def _exponential_near_an_eighth(value):
    """Compute ``exp`` of a number without whole bits in [-1/4, 0)."""
    x = value + constant(1 / 8, 0)
    x2 = product(x, x)
    x3, x4 = product(x2, x), product(x2, x2)
    cubic = product(shifted_right(x4, 2) + x3, constant(1 / 3, 0))
    series = x + shifted_right(cubic + x2, 1)
    start = constant(math.exp(-1 / 8), 0)
    return saturated(start + product(start, series))


def exponential(value: tf.Tensor, whole_bits: int = 5) -> tf.Tensor:
    """Compute ``exp`` of numbers up to 0.

    Args:
        value: int64 tensor, not above 0, with ``whole_bits`` whole bits.
        whole_bits: 2 to 5.

    Returns:
        int64 tensor without whole bits; 1 is ``2**31 - 1``.
    """
    fraction_bits = 31 - whole_bits
    quarter = 1 << (fraction_bits - 2)
    near = tf.bitwise.bitwise_and(value, tf.constant(quarter - 1, tf.int64)) - quarter
    result = _exponential_near_an_eighth(shifted_left(near, whole_bits))
    rest = near - value  # a multiple of a quarter: each of its bits multiplies
    for power in range(-2, whole_bits):
        bit = tf.constant(1 << (fraction_bits + power), tf.int64)
        is_set = tf.bitwise.bitwise_and(rest, bit) != 0
        factor = constant(math.exp(-(2.0**power)), 0)
        result = tf.where(is_set, product(result, factor), result)
    return tf.where(value == 0, tf.constant(_LARGEST, tf.int64), result)


def quotient_of_one_plus(value: tf.Tensor) -> tf.Tensor:
    """Compute ``1 / (1 + value)`` of numbers in [0, 1).

    Args:
        value: int64 tensor without whole bits.

    Returns:
        int64 tensor without whole bits.
    """
    half = half_sum(value, tf.constant(_LARGEST, tf.int64))
    x = constant(48 / 17, 2) + product(half, constant(-32 / 17, 2))
    for _ in range(3):
        rest = constant(1.0, 2) - product(half, x)
        x = x + shifted_left(product(x, rest), 2)
    return shifted_left(x, 1)


def leading_zeros(value: tf.Tensor) -> tf.Tensor:
    """Count the zero bits above the highest one bit of positive 32-bit numbers.

    Args:
        value: int64 tensor in [1, 2**32).

    Returns:
        int64 tensor.
    """
    exponent = tf.bitwise.right_shift(
        tf.bitcast(tf.cast(value, tf.float64), tf.int64), tf.constant(52, tf.int64)
    )
    return 31 - (exponent - 1023)
