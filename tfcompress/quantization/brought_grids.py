"""Grids that a model brings with it: those that its fake quantization rounds to.

A file of the same bits takes a grid as it is. In a file of other bits the range is kept.
"""

import numpy as np

from tfcompress.tflite.filling import Storage


def activation_grid(form: Storage, dtype: str) -> tuple[float, int]:
    """Tell the grid of a file's activations that a model brings.

    Args:
        form: what the model rounds to: integers of 4, 8 or 16 bits, signed or not.
        dtype: the type of the file's activations, "INT8" or "INT16".

    Returns:
        (scale, zero point).

    Example:
    >>> activation_grid(Storage("UINT8", (0.5,), (100,)), "INT8")
    (0.5, -28)
    """
    bits, signed_zero_point = _signed(form)
    scale = float(form.scales[0])
    if (bits, dtype) == (8, "INT8"):
        return scale, signed_zero_point
    half = 2 ** (bits - 1)
    smallest, largest = (scale * (end - signed_zero_point) for end in (-half, half - 1))
    if dtype == "INT16":
        return float(np.float32(max(-smallest, largest) / 32767)), 0
    wide = (largest - smallest) / 255
    return float(np.float32(wide)), int(np.clip(round(-128 - smallest / wide), -128, 127))


def kernel_bits(form: Storage) -> int | None:
    """Tell the bits of a kernel that a model brings.

    Args:
        form: what the model rounds the kernel to.

    Returns:
        The bits; None for a kernel with a zero point, which no integer operation has.

    Example:
    >>> kernel_bits(Storage("UINT8", (0.5, 0.25), (128, 128)))
    8
    """
    bits, _ = _signed(form)
    middle = 0 if form.dtype.startswith("INT") else 2 ** (bits - 1)
    return bits if set(form.zero_points) <= {middle} else None


def _signed(form: Storage) -> tuple[int, int]:
    """Return the bits of a form, and the zero point that it has in signed integers."""
    signed = form.dtype.startswith("INT")
    bits = int(form.dtype.removeprefix("UINT").removeprefix("INT"))
    return bits, int(form.zero_points[0]) - (0 if signed else 2 ** (bits - 1))
