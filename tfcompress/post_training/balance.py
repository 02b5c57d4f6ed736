"""The arithmetic of equalization: how far to scale each channel between two layers.

A channel divided by ``s`` where it is made, and multiplied by ``s`` where it is read, gives the
same outputs. Rounding is another matter: it adds a noise that depends on the largest weights and
activations that share a scale, and how much of it arrives at the outputs depends on the channel.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_MOST = np.log(1e3)  # how much further than the median a channel may be scaled


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights that are scaled with some channels.

    Attributes:
        values: float array (channels, weights of a channel).
        energy: float array of the same shape: noise at the outputs of the model for a noise of
            variance 1 in each weight.
        shared: int array of the same shape: which scale each weight shares with others.
        levels: the largest integer of the grid; infinite for weights that are not rounded.
    """

    values: np.ndarray
    energy: np.ndarray
    shared: np.ndarray
    levels: float

    def noise(self, scales: np.ndarray) -> float:
        """Return the noise at the outputs that rounding the scaled weights makes.

        Args:
            scales: float array (channels,): what each channel is multiplied by.
        """
        scaled = np.abs(self.values * scales[:, None])
        limits = np.zeros(self.shared.max() + 1)
        np.maximum.at(limits, self.shared.ravel(), scaled.ravel())
        steps = limits[self.shared] / self.levels / scales[:, None]
        return float(np.sum(np.square(steps) * self.energy) / 12.0)


@dataclasses.dataclass(frozen=True)
class Channels:
    """Channels between a layer that makes them and those that read them.

    Attributes:
        smallest: float array (channels,), the smallest value of each, at most 0.
        largest: float array (channels,), at least 0.
        energy: float array (channels,): noise at the outputs of the model for a noise of variance
            1 in each channel.
        made_by: the weights that make them.
        read_by: the weights that read them, of each reader.
        free: bool array (channels,): which may be scaled.
        least: float array (channels,): the least that each may be scaled by.
        levels: steps of the grid of the channels; infinite where they are not rounded.
    """

    smallest: np.ndarray
    largest: np.ndarray
    energy: np.ndarray
    made_by: Weights
    read_by: tuple[Weights, ...]
    free: np.ndarray
    least: np.ndarray
    levels: float

    def noise(self, scales: np.ndarray) -> float:
        """Predict the noise at the outputs that rounding makes, as small noise adds up.

        Args:
            scales: float array (channels,): channels are divided by them where they are made.
        """
        span = (self.largest / scales).max() - (self.smallest / scales).min()
        noise = (span / self.levels) ** 2 / 12.0 * float(self.energy @ np.square(scales))
        noise += self.made_by.noise(1.0 / scales)
        return noise + sum(weights.noise(scales) for weights in self.read_by)


def best_scales(channels: Channels) -> np.ndarray:
    """Find the scales that make the noise of rounding least at the outputs.

    Those that are tried are products of powers of what each channel's range is, of the largest
    weight that makes it, and of the largest that reads it. Among them are the square root of the
    two ranges of weights (Nagel et al., 2019), and ranges of activations against those of weights
    (Xiao et al., 2022).

    Args:
        channels: what is scaled.

    Returns:
        float array (channels,); 1 everywhere where nothing better was found.
    """
    made = _largest([channels.made_by])
    read = _largest(channels.read_by)
    span = np.maximum(channels.largest, -channels.smallest)
    free = channels.free & (made > 0) & (read > 0) & (span > 0)
    best = np.ones(len(span))
    if not free.any():
        return best
    least = channels.noise(best)
    for shares in itertools.product(_SHARES, repeat=3):
        scales = _candidate((span, made, read), shares, free, channels.least)
        noise = channels.noise(scales)
        if noise < least:
            best, least = scales, noise
    return best


def _candidate(ranges, shares, free, lowest):
    """Return one product of powers, that leaves the range of all channels together as it is."""
    span, made, read = (np.log(values[free]) for values in ranges)
    powers = shares[0] * span + shares[1] * made - shares[2] * read
    powers += (span - powers).max() - np.log(ranges[0].max())
    middle = np.median(powers)
    scales = np.ones(len(free))
    scales[free] = np.exp(np.clip(powers, middle - _MOST, middle + _MOST))
    return np.maximum(scales, lowest)


def _largest(weights: Sequence[Weights]) -> np.ndarray:
    return np.max([np.abs(w.values).max(1) for w in weights], axis=0)
