"""Signal-to-noise ratios in dB: how close approximated values are to the reference."""

import math

import numpy as np


class SignalToNoise:
    """Accumulates a reference and its difference from approximated values.

    Example:
    >>> ratio = SignalToNoise()
    >>> ratio.add(np.array([10.0]), np.array([9.0]))
    >>> ratio.decibels
    20.0
    """

    def __init__(self):
        self._signal = self._noise = 0.0

    def add(self, reference: np.ndarray, values: np.ndarray) -> None:
        """Add arrays of the same shape."""
        reference = reference.astype(np.float64)
        self._signal += float(np.square(reference).sum())
        self._noise += float(np.square(reference - values).sum())

    @property
    def decibels(self) -> float:
        """The ratio of the energies in dB; infinite if nothing differs."""
        if self._noise == 0:
            return math.inf
        return 10.0 * math.log10(self._signal / self._noise) if self._signal > 0 else -math.inf


def sqnr(reference: np.ndarray, values: np.ndarray) -> float:
    """Return the signal-to-quantization-noise ratio in dB.

    Example:
    >>> sqnr(np.array([10.0]), np.array([9.0]))
    20.0
    """
    ratio = SignalToNoise()
    ratio.add(np.asarray(reference), np.asarray(values))
    return ratio.decibels
