"""Quantization arithmetic on NumPy arrays, rounded as the runtimes round."""

import math
from typing import Any

import numpy as np

# What is always zero, or almost, is given a wider range instead: kernels multiply and divide
# scales, which have to stay normal numbers of 32 bits.
SMALLEST_RANGE = 1e-12
RANGE_OF_ZEROS = 0.25


def round_half_away(values: np.ndarray) -> np.ndarray:
    """Round to integers, halves away from zero: C's ``round``, which the QUANTIZE kernel uses.

    Example:
    ```python
    round_half_away(np.array([0.5, -0.5, 1.5, 2.5]))  # [1, -1, 2, 3], where numpy has 0, 0, 2, 2
    ```
    """
    whole = np.trunc(values)
    # values - whole is exact, values + 0.5 is not: 0.49999997 + 0.5 is 1 in float32.
    return whole + np.copysign(np.abs(values - whole) >= 0.5, values)


def quantize(values: np.ndarray, scale: float, zero_point: int, dtype: Any) -> np.ndarray:
    """Return ``round(values / scale) + zero_point``, clipped to an integer type."""
    values = np.asarray(values, np.float32)
    if not np.isfinite(values).all():
        raise ValueError(
            "Only finite numbers can be quantized. Received: "
            f"{int((~np.isfinite(values)).sum())} NaN or infinite values of {values.size}"
        )
    limits = np.iinfo(dtype)
    integers = round_half_away(values / np.float32(scale)).astype(np.float64) + zero_point
    return np.clip(integers, limits.min, limits.max).astype(dtype)


def dequantize(integers: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Return float32 ``scale * (integers - zero_point)``."""
    return np.float32(scale) * (integers.astype(np.int64) - zero_point).astype(np.float32)


class SignalToNoise:
    """Accumulates a reference and its difference from approximate values.

    Example:
    >>> ratio = SignalToNoise()
    >>> ratio.add(np.array([10.0]), np.array([9.0]))
    >>> ratio.decibels
    20.0
    """

    def __init__(self) -> None:
        self._signal = self._noise = 0.0

    def add(self, reference: np.ndarray, values: np.ndarray) -> None:
        """Add arrays of the same shape."""
        reference = reference.astype(np.float64)
        self._signal += float((reference**2).sum())
        self._noise += float(((reference - values) ** 2).sum())

    @property
    def decibels(self) -> float:
        """The ratio of the energies in dB; infinite if nothing differs."""
        if self._noise == 0:
            return math.inf
        return 10 * math.log10(self._signal / self._noise) if self._signal > 0 else -math.inf


def sqnr(reference: np.ndarray, values: np.ndarray) -> float:
    """Return the signal-to-quantization-noise ratio in dB; infinite if the arrays are equal.

    ``10 log10(sum reference^2 / sum (reference - values)^2)``

    Example:
    ```python
    sqnr(np.array([1.0, 2.0]), np.array([1.0, 1.5]))  # 10 log10(5 / 0.25) = 13.01
    ```
    """
    ratio = SignalToNoise()
    ratio.add(reference, values)
    return ratio.decibels
