"""Integers and what they mean: what the kernels of a quantized file take and give."""

from typing import NamedTuple

import tensorflow as tf

_RANGES = {
    "INT2": (-2, 1),
    "INT4": (-8, 7),
    "INT8": (-128, 127),
    "INT16": (-32768, 32767),
}


class Grid(NamedTuple):
    """How integers mean real numbers: ``real = scale * (integer - zero_point)``."""

    scale: tf.Tensor  # float32, a scalar, or one value for each index along ``axis``
    zero_point: tf.Tensor  # int32 scalar; 0 for weights and biases
    # The file's type of the integers: "INT2", "INT4", "INT8", "INT16", "INT32" or "INT64".
    dtype: str
    axis: int = 0  # the dimension that the scales run along; meaningless with one scale


class Integers(NamedTuple):
    """A tensor of a quantized file."""

    # The integers. Activations and weights are whole numbers in float32, which holds 16 bits
    # exactly; biases are int32 or int64.
    values: tf.Tensor
    grid: Grid  # what they mean


def integer_range(dtype: str) -> tuple[int, int]:
    """Return the lowest and the highest integer of an activation's or a weight's type.

    Example:
    >>> integer_range("INT8")
    (-128, 127)
    """
    if dtype not in _RANGES:
        raise ValueError(
            f"Integer kernels compute with {', '.join(_RANGES)}. Received: a tensor of {dtype}. "
            "Quantize its operation, or leave it in float."
        )
    return _RANGES[dtype]


def less_zero_point(integers: Integers) -> tf.Tensor:
    """Return the integers counted from zero, as whole numbers in float32."""
    return integers.values - tf.cast(integers.grid.zero_point, tf.float32)
