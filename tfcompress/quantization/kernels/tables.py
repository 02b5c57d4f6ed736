"""Functions of one tensor that kernels look up in a table, made from the scales in the graph.

With 8 bits, an operation of one tensor is a list of 256 values. The built-in kernels fill it in
float32: dequantize, apply the function, multiply by the reciprocal of the output's scale, round
halves away from zero, add the zero point. XNNPACK adds the zero point first and rounds halves to
even. With 16 bits, the table has 513 values, corrected for the error at each midpoint, and kernels
interpolate.

The C library's float32 functions and ours (float64, then rounded) may differ in the last bit. That
was seen to change a result of one operation: GELU with 16 bits, 7 in 69,120 values by 1, and none
when its table is filled with the C library's ``erfcf`` and ``tanhf``.
"""

from collections.abc import Callable

import tensorflow as tf

from tfcompress.quantization.kernels.grids import Grid, Integers, integer_range
from tfcompress.quantization.kernels.requantization import (
    in_order,
    quotient,
    round_half_away,
    traced_once,
)

_STEPS = 512
_STEP_BITS = 7

Function = Callable[[tf.Tensor, Grid], tf.Tensor]  # of values, and of the grid of the output


def in_double(function: Callable[[tf.Tensor], tf.Tensor]) -> Function:
    """Compute a float32 function in float64, so that its result is correctly rounded."""
    return lambda value, grid=None: tf.cast(function(tf.cast(value, tf.float64)), tf.float32)


def every_integer() -> tf.Tensor:
    """List the 8-bit integers in ascending order, shape (256,), as whole numbers in float32."""
    return tf.range(-128.0, 128.0)


def looked_up(integers: Integers, table: tf.Tensor) -> tf.Tensor:
    """Replace 8-bit integers by the entries of a table."""
    return tf.gather(table, tf.cast(integers.values, tf.int32) + 128)


def real_values(grid: Grid) -> tf.Tensor:
    """List what the 8-bit integers mean, shape (256,)."""
    return in_order(grid.scale * (every_integer() - tf.cast(grid.zero_point, tf.float32)))


def table_of(function: Function, taken: Grid, grid: Grid, kernels: str) -> tf.Tensor:
    """Fill a table as a kernel does, "xnnpack" or "reference", any built-in one.

    It has 256 values in float32, or 513 in int32 for 16 bits.
    """
    fill = _table_of_16_bits if grid.dtype == "INT16" else _table_of_8_bits
    table = fill(*taken[:2], *grid[:2], function=function, kernels=kernels)
    table.set_shape([513 if grid.dtype == "INT16" else 256])
    return table


@traced_once
def _table_of_8_bits(*ends, function, kernels):
    """Fill a table of 256 values."""
    taken, grid = Grid(*ends[:2], "INT8"), Grid(*ends[2:], "INT8")
    inverse = quotient(tf.constant(1.0), grid.scale)
    zero_point = tf.cast(grid.zero_point, tf.float32)
    steps = in_order(function(real_values(taken), grid)) * inverse
    if kernels == "xnnpack":
        rounded = tf.round(steps + zero_point)
    else:
        rounded = round_half_away(steps) + zero_point
    return tf.clip_by_value(rounded, *map(float, integer_range(grid.dtype)))


@traced_once
def _table_of_16_bits(*ends, function, kernels):
    """Fill a table of 513 values."""
    taken, grid = Grid(*ends[:2], "INT16"), Grid(*ends[2:], "INT16")
    lowest, highest = integer_range("INT16")

    def real(integer, of):
        return of.scale * (float(integer) - tf.cast(of.zero_point, tf.float32))

    first, last = real(lowest, taken), real(highest, taken)
    step = (last - first) * (1 / _STEPS)
    inverse = quotient(tf.constant(65536.0), real(highest, grid) - real(lowest, grid))
    ends = first + tf.range(_STEPS + 1.0) * step
    values = in_order(function(ends, grid)) * inverse
    middles = in_order(function(ends[:-1] + step * 0.5, grid)) * inverse
    corrected = corrected_ends(values, middles, round_half_away)
    last_value = round_half_away(function(last[None], grid) * inverse)
    table = tf.concat([corrected, last_value], 0)
    return tf.cast(tf.clip_by_value(table, float(lowest), float(highest)), tf.int32)


def corrected_ends(values, middles, rounded_to):
    """Round the values of a table but the last, and halve the error at each midpoint."""
    rounded = rounded_to(values[:-1])
    between = rounded_to((values[1:] + rounded) * 0.5)
    return rounded - rounded_to((between - rounded_to(middles)) * 0.5)


def interpolated(values: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """Look 16-bit integers up in a table of 513 values."""
    place = tf.bitwise.right_shift(values, tf.constant(_STEP_BITS)) + _STEPS // 2
    offset = tf.bitwise.bitwise_and(values, tf.constant((1 << _STEP_BITS) - 1))
    base = tf.gather(table, place)
    # The kernels keep the slope in 16 bits, which it may leave: it wraps around.
    slope = tf.cast(tf.cast(tf.gather(table, place + 1) - base, tf.int16), tf.int32)
    half = 1 << (_STEP_BITS - 1)
    delta = tf.bitwise.right_shift(slope * offset + half, tf.constant(_STEP_BITS))
    return tf.cast(tf.cast(base + delta, tf.int16), tf.int32)
