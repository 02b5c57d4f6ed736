"""SOFTMAX and LOG_SOFTMAX on integers.

With 8 bits the built-in kernels of LiteRT look the exponentials up in a float32 table; the
reference kernels compute them in fixed point. With 16 bits both interpolate tables of 513 values,
which TFLite Micro fills in float32 and the others in float64.
XNNPACK leaves all of them to the built-in kernels.
"""

import numpy as np
import tensorflow as tf

from tfcompress.quantization.kernels import fixed_point
from tfcompress.quantization.kernels import requantization as rq
from tfcompress.quantization.kernels.grids import integer_range
from tfcompress.quantization.kernels.tables import corrected_ends, in_double, interpolated
from tfcompress.tflite.numerics import round_half_away

_WHOLE_BITS = 5
_SUM_BITS = 12


def _differences(integers):
    """Distances from each row's maximum, int32, not above 0."""
    values = tf.cast(integers.values, tf.int32)
    return values - tf.reduce_max(values, -1, keepdims=True)


def _by_table(taken, beta):
    """Exponentials of the differences from the maximum, from the float32 table, and their sums."""
    step = -taken.grid.scale * tf.constant(beta, tf.float32)
    table = in_double(tf.exp)(step * tf.range(256.0))
    exponentials = tf.gather(table, -_differences(taken))
    # Summed from left to right, one after the other, as a loop does.
    return exponentials, tf.cumsum(exponentials, -1)[..., -1:]


def _softmax(operation, inputs, grids, kernels):
    """SOFTMAX."""
    taken, grid = inputs[0], grids[0]
    beta = operation.options.get("beta", 1.0)
    if grid.dtype == "INT16" and kernels == "micro":
        scale = rq.product_in_float64(taken.grid.scale, beta)
        return [_softmax_of_16_bits(taken, scale, _IN_FLOAT32)]
    if grid.dtype == "INT16":
        scale = rq.product_in_float32(taken.grid.scale, beta)
        return [_softmax_of_16_bits(taken, scale, _IN_FLOAT64)]
    if kernels != "xnnpack":
        return [_softmax_in_fixed_point(taken, beta)]
    exponentials, total = _by_table(taken, beta)
    inverse = rq.quotient(tf.ones_like(total), total * grid.scale)
    return [rq.on_grid(rq.round_half_away(exponentials * inverse), grid)]


def _fine_multiplier(scale, beta):
    """The factor to differences with 5 whole bits, and the largest distance that matters."""
    real = tf.constant(beta, tf.float64) * tf.cast(scale, tf.float64) * 2.0 ** (31 - _WHOLE_BITS)
    multiplier, shift = rq.fixed_point_multiplier(tf.minimum(real, 2.0**31 - 1))
    power = tf.cast(tf.bitwise.left_shift(tf.ones_like(shift), tf.minimum(shift, 30)), tf.float64)
    radius = tf.floor((2.0**_WHOLE_BITS - 1) * 2.0 ** (31 - _WHOLE_BITS) / power)
    radius = tf.where(shift > 30, tf.zeros_like(radius), radius)
    return multiplier, shift, tf.cast(radius, tf.int64)


def _fine_differences(multiplier, shift):
    """The 256 differences 0, -1, ..., -255 with 5 whole bits."""
    differences = -tf.range(256, dtype=tf.int64)
    power = tf.bitwise.left_shift(tf.constant(1, tf.int64), tf.cast(shift, tf.int64))
    # What leaves 32 bits is beyond the radius.
    shifted = fixed_point.saturated(differences * power)
    return fixed_point.product(shifted, multiplier)


def _softmax_in_fixed_point(taken, beta):
    """SOFTMAX of the reference kernels with 8 bits."""
    multiplier, shift, radius = _fine_multiplier(taken.grid.scale, beta)
    table = fixed_point.exponential(_fine_differences(multiplier, shift))
    counts = tf.range(256, dtype=tf.int64) <= radius
    table = tf.where(counts, table, tf.zeros_like(table))
    distances = -_differences(taken)
    terms = fixed_point.shifted_right(table, _SUM_BITS)
    total = tf.reduce_sum(tf.gather(terms, distances), -1, keepdims=True)
    inverse, bits_over_one = _reciprocal(total)
    product = fixed_point.product(inverse, tf.gather(table, distances))
    result = fixed_point.shifted_right(product, bits_over_one + 31 - 8) - 128
    result = tf.where(tf.gather(counts, distances), result, tf.constant(-128, tf.int64))
    return tf.cast(tf.clip_by_value(result, *integer_range("INT8")), tf.float32)


def _reciprocal(total):
    """The reciprocal of sums with 12 whole bits, and how many bits they are above 1."""
    zeros = fixed_point.leading_zeros(total)
    rest = tf.bitwise.left_shift(total, zeros) - (1 << 31)
    return fixed_point.quotient_of_one_plus(rest), _SUM_BITS - zeros


def _table(function, first, last, dtype):
    """513 values of a function between two numbers with 15 bits, as kernels correct them."""
    ends = first + np.arange(513) * ((last - first) / 512)  # exact, as are the middles
    middles = ends[:-1] + (last - first) / 1024
    values, between = (function(x).astype(dtype) * 32768 for x in (ends, middles))
    corrected = corrected_ends(values, between, round_half_away)
    table = np.append(corrected, round_half_away(values[-1:]))
    return np.clip(table, -32768, 32767).astype(np.int32)


def _tables(dtype):
    """Tables of exp(x) from -10 to 0 and 1 / (1 + x) from 0 to 1, filled with ``dtype``."""
    inverses = _table(lambda value: 1 / (1 + value), 0.0, 1.0, dtype)
    return _table(np.exp, -10.0, 0.0, dtype), inverses


_IN_FLOAT64, _IN_FLOAT32 = _tables(np.float64), _tables(np.float32)


def _softmax_of_16_bits(taken, scale, tables):
    """SOFTMAX with 16 bits; the float64 scale is the input's, times beta."""
    exponentials, inverses = map(tf.constant, tables)
    real = rq.quotient(scale, tf.constant(10.0 / 65535.0, tf.float64))
    fine = rq.rescaled(_differences(taken), real)
    terms = interpolated(tf.clip_by_value(fine + 32767, -32768, 32767), exponentials)
    terms = tf.cast(terms, tf.int64)
    total = tf.reduce_sum(terms, -1, keepdims=True)
    zeros = fixed_point.leading_zeros(total)
    rest = tf.bitwise.left_shift(total, zeros - 1) + (1 << 13)
    rest = tf.bitwise.right_shift(rest, tf.constant(14, tf.int64)) - (1 << 15) - (1 << 16)
    rest = tf.cast(tf.clip_by_value(rest, -32768, 32767), tf.int32)
    inverse = tf.cast(interpolated(rest, inverses), tf.int64)
    shift = 31 - zeros
    half = tf.bitwise.left_shift(tf.ones_like(shift), shift - 1)
    result = tf.bitwise.right_shift(terms * inverse + half, shift)
    return tf.cast(tf.clip_by_value(result, 0, 32767), tf.float32)


def _log_softmax(operation, inputs, grids, kernels):
    """LOG_SOFTMAX with 8 bits."""
    taken, grid = inputs[0], grids[0]
    if kernels != "xnnpack":
        return [_log_softmax_in_fixed_point(taken)]
    _, total = _by_table(taken, 1.0)
    values = taken.values
    largest = taken.grid.scale * tf.reduce_max(values, -1, keepdims=True)
    offset = rq.quotient(largest + in_double(tf.math.log)(total), grid.scale)
    steps = values * rq.quotient(taken.grid.scale, grid.scale) - offset
    return [rq.clamped(tf.round(steps), "NONE", grid, "xnnpack")]


def _log_softmax_in_fixed_point(taken):
    """LOG_SOFTMAX of the reference kernels."""
    multiplier, shift, radius = _fine_multiplier(taken.grid.scale, 1.0)
    fine = _fine_differences(multiplier, shift)
    counts = tf.range(256, dtype=tf.int64) <= radius
    terms = fixed_point.shifted_right(fixed_point.exponential(fine), _SUM_BITS)
    terms = tf.where(counts, terms, tf.zeros_like(terms))
    distances = -_differences(taken)
    total = tf.reduce_sum(tf.gather(terms, distances), -1, keepdims=True)
    logarithm = fixed_point.logarithm(total, _SUM_BITS, _WHOLE_BITS)
    power = tf.cast(tf.bitwise.left_shift(tf.ones_like(shift), 31 - shift), tf.float64)
    inverse = rq.fixed_point_multiplier(rq.quotient(power, tf.cast(multiplier, tf.float64)))
    smallest = fixed_point.scaled(logarithm - (1 << 31), *inverse)
    smallest = tf.maximum(-radius - 1, smallest)
    steps = tf.gather(fine, distances) - logarithm
    result = fixed_point.shifted_right(steps, 31 - _WHOLE_BITS - 4) + 127
    result = tf.where(-tf.cast(distances, tf.int64) > smallest, result, tf.constant(-128, tf.int64))
    return tf.cast(tf.clip_by_value(result, *integer_range("INT8")), tf.float32)


SOFTMAX = {"SOFTMAX": _softmax, "LOG_SOFTMAX": _log_softmax}
