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


def constant(real: float, whole_bits: int, word: int = 31) -> tf.Tensor:
    """Write a real number with ``whole_bits`` whole bits; fewer bits are rounded from 32."""
    full = min(round(real * 2.0 ** (31 - whole_bits)), _LARGEST)
    half = (1 << (31 - word)) >> 1
    return tf.constant(min((full + half) >> (31 - word), (1 << word) - 1), tf.int64)


def saturated(value: tf.Tensor, word: int = 31) -> tf.Tensor:
    """Limit to what ``word`` bits and a sign hold."""
    return tf.clip_by_value(value, -(1 << word), (1 << word) - 1)


def product(first: tf.Tensor, second: tf.Tensor, word: int = 31) -> tf.Tensor:
    """Multiply and round to nearest, halves up; the whole bits of the factors add up."""
    doubled = first * second + (1 << (word - 1))
    return saturated(tf.bitwise.right_shift(doubled, tf.constant(word, tf.int64)), word)


def shifted_right(value: tf.Tensor, bits: int | tf.Tensor) -> tf.Tensor:
    """Divide by ``2**bits``, halves away from zero."""
    bits = tf.convert_to_tensor(bits, tf.int64)
    mask = tf.bitwise.left_shift(tf.ones_like(bits), bits) - 1
    rest = tf.bitwise.bitwise_and(value, mask)
    limit = tf.bitwise.right_shift(mask, tf.constant(1, tf.int64)) + tf.cast(value < 0, tf.int64)
    return tf.bitwise.right_shift(value, bits) + tf.cast(rest > limit, tf.int64)


def shifted_left(value: tf.Tensor, bits: int, word: int = 31) -> tf.Tensor:
    """Multiply by ``2**bits`` and saturate."""
    return saturated(value * (1 << bits), word)


def scaled(value: tf.Tensor, multiplier: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Multiply by ``multiplier * 2**(shift - 31)``, rounding the product and then the shift."""
    shift = tf.cast(shift, tf.int64)
    high = product(tf.bitwise.left_shift(value, tf.maximum(shift, 0)), multiplier)
    return shifted_right(high, tf.maximum(-shift, 0))


def half_sum(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Halve a sum, halves away from zero."""
    return shifted_right(first + second, 1)


def _exponential_near_an_eighth(value, word):
    """Compute ``exp`` of a number without whole bits in [-1/4, 0)."""
    x = value + constant(1 / 8, 0, word)
    x2 = product(x, x, word)
    x3, x4 = product(x2, x, word), product(x2, x2, word)
    cubic = product(shifted_right(x4, 2) + x3, constant(1 / 3, 0, word), word)
    series = x + shifted_right(cubic + x2, 1)
    start = constant(math.exp(-1 / 8), 0, word)
    return saturated(start + product(start, series, word), word)


def exponential(value: tf.Tensor, whole_bits: int = 5, word: int = 31) -> tf.Tensor:
    """Compute ``exp`` of numbers up to 0."""
    fraction_bits = word - whole_bits
    quarter = 1 << (fraction_bits - 2)
    near = tf.bitwise.bitwise_and(value, tf.constant(quarter - 1, tf.int64)) - quarter
    result = _exponential_near_an_eighth(shifted_left(near, whole_bits, word), word)
    rest = near - value  # a multiple of a quarter: each of its bits multiplies
    for power in range(-2, whole_bits):
        bit = tf.constant(1 << (fraction_bits + power), tf.int64)
        is_set = tf.bitwise.bitwise_and(rest, bit) != 0
        factor = constant(math.exp(-(2.0**power)), 0, word)
        result = tf.where(is_set, product(result, factor, word), result)
    return tf.where(value == 0, tf.constant((1 << word) - 1, tf.int64), result)


def _twice_quotient_of_one_plus(value, word):
    """Compute ``2 / (1 + value)`` of numbers in [0, 1), with two whole bits."""
    half = half_sum(value, tf.constant((1 << word) - 1, tf.int64))
    x = constant(48 / 17, 2, word) + product(half, -constant(32 / 17, 2, word), word)
    for _ in range(3):
        rest = constant(1.0, 2, word) - product(half, x, word)
        x = x + shifted_left(product(x, rest, word), 2, word)
    return x


def quotient_of_one_plus(value: tf.Tensor, word: int = 31) -> tf.Tensor:
    """Compute ``1 / (1 + value)`` of numbers in [0, 1)."""
    return shifted_left(_twice_quotient_of_one_plus(value, word), 1, word)


def sigmoid(value: tf.Tensor, whole_bits: int, word: int) -> tf.Tensor:
    """Compute the sigmoid."""
    positive = quotient_of_one_plus(exponential(-tf.abs(value), whole_bits, word), word)
    result = tf.where(value > 0, positive, (1 << word) - 1 - positive)
    return tf.where(value == 0, tf.constant(1 << (word - 1), tf.int64), result)


def hyperbolic_tangent(value: tf.Tensor, whole_bits: int, word: int) -> tf.Tensor:
    """Compute the hyperbolic tangent; arguments as in ``sigmoid``."""
    fraction = exponential(-tf.abs(value), whole_bits + 1, word)  # of twice the value
    quotient = _twice_quotient_of_one_plus(fraction, word) - constant(1.0, 2, word)
    return tf.cast(tf.sign(value), tf.int64) * shifted_left(quotient, 2, word)


def leading_zeros(value: tf.Tensor) -> tf.Tensor:
    """Count the zero bits above the highest one bit of positive 32-bit numbers."""
    exponent = tf.bitwise.right_shift(
        tf.bitcast(tf.cast(value, tf.float64), tf.int64), tf.constant(52, tf.int64)
    )
    return 31 - (exponent - 1023)


def logarithm(value: tf.Tensor, whole_bits: int, result_bits: int) -> tf.Tensor:
    """Compute the natural logarithm of numbers from 1."""
    sum_bits = result_bits + 1
    root, quarter = constant(0.5**0.5, 0), constant(0.25, sum_bits)
    fourth_root = constant(0.5**0.25, 0)

    def power(bits):
        return tf.bitwise.left_shift(whole_bits - bits, tf.constant(31 - sum_bits, tf.int64))

    # Twice the same number, once in [1/2, 1) and once in [1/2, 1) * sqrt(2), to stay near 1.
    zeros = leading_zeros(value)
    first = shifted_left(product(tf.bitwise.left_shift(value, zeros - 1), root), 1)
    first_power = power(zeros) + quarter
    zeros = leading_zeros(product(value, root)) - 1
    second = saturated(tf.bitwise.left_shift(value, zeros))
    second_power = power(zeros) - quarter
    r, exponent = tf.minimum(first, second), tf.maximum(first_power, second_power)

    scale = 2.0**0.25
    p, q = half_sum(r, fourth_root), 2 * (r - fourth_root)
    square = product(q, q)
    over = product(q, r) + product(product(q, square), constant(11 / 240 * scale, 0))
    inner = constant(2 / scale - scale, 0) + q + product(constant(scale / 20, 0), square)
    under = product(p, inner) + product(constant(scale / 4, 0), q)
    fraction = product(shifted_right(over, sum_bits), quotient_of_one_plus(under))
    return shifted_left(product(exponent, constant(math.log(2.0), 0)) + fraction, 1)
