"""Channels that stay or go together: a union-find over the channels of all tensors."""

import numpy as np


class Ties:
    """Numbers every channel that some layer makes, and ties those that only go together."""

    def __init__(self):
        self._parents: list[int] = []
        self._pinned: set[int] = set()

    def new(self, count: int) -> np.ndarray:
        """Return the numbers of ``count`` channels that are free so far."""
        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        return np.arange(start, start + count)

    def tie(self, first: np.ndarray, second: np.ndarray) -> None:
        """Tie channels pairwise.

        Args:
            first: int array (n,), numbers of channels.
            second: int array (n,).
        """
        for pair in zip(first.tolist(), second.tolist(), strict=True):
            one, other = (self._root(channel) for channel in pair)
            if one != other:
                self._parents[max(one, other)] = min(one, other)

    def pin(self, channels: np.ndarray) -> None:
        """Keep channels, and whatever is tied to them now or later, from being removed."""
        self._pinned.update(channels.tolist())

    def settled(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what was tied, once all is read.

        Returns:
            int array (channels,): the bundle that each channel belongs to, as the number of its
            first channel; and bool array (channels,): whether the channel is pinned.
        """
        bundles = np.array([self._root(i) for i in range(len(self._parents))], dtype=int)
        pinned = np.zeros(len(bundles), dtype=bool)
        pinned[bundles[sorted(self._pinned)]] = True
        return bundles, pinned[bundles]

    def _root(self, channel):
        while self._parents[channel] != channel:
            self._parents[channel] = self._parents[self._parents[channel]]
            channel = self._parents[channel]
        return channel
