"""Which weights are masked together.

A pattern pools the scores of a kernel's weights into scores of groups, and spreads a decision about
groups back to the weights. Every docstring works the pattern at 50 % on this kernel of a Dense
layer with four inputs (rows) and four outputs (columns), shown by magnitude::

    9 2 7 1
    4 8 3 6
    5 1 8 2
    6 7 2 9
"""

import dataclasses

import keras
import numpy as np


class Pattern:
    """What all patterns share. Subclasses are frozen, serialisable dataclasses."""

    def check(self, path: str, shape: tuple[int, ...], output_axes: tuple[int, ...]) -> None:
        """Raise ValueError, naming the kernel, where the pattern cannot be laid on it."""

    def check_sparsity(self, final: float, highest: float) -> None:
        """Raise ValueError where the pattern cannot reach the sparsity of a schedule."""

    def pool(self, scores: np.ndarray, output_axes: tuple[int, ...]) -> np.ndarray:
        """Return a score for each group; infinite where the group must be kept.

        Args:
            scores: a score for each weight, of the kernel's shape.
            output_axes: the kernel's axes that index output channels.
        """
        raise NotImplementedError

    def spread(self, groups: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return for each weight of a kernel the value of its group.

        Args:
            groups: an array as returned by ``pool``.
            shape: the shape of the kernel.
        """
        raise NotImplementedError

    def sizes(self, shape: tuple[int, ...], output_axes: tuple[int, ...]) -> np.ndarray:
        """Return the number of weights of each group, in the shape that ``pool`` returns."""
        raise NotImplementedError

    def get_config(self) -> dict:
        """Return the arguments that rebuild the pattern."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        """Rebuild a pattern from its configuration."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class Element(Pattern):
    """Each weight by itself: the most accurate pattern, and the one that few kernels profit from.

    Example: the eight smallest of sixteen weights go; of equal ones, the first in memory order::

        9 2 7 1      9 . 7 .
        4 8 3 6  ->  . 8 . 6
        5 1 8 2      5 . 8 .
        6 7 2 9      6 7 . 9
    """

    def pool(self, scores, output_axes):
        """Return the scores: each weight is a group."""
        return scores

    def spread(self, groups, shape):
        """Return the groups: each is a weight."""
        return groups

    def sizes(self, shape, output_axes):
        """Return ones."""
        return np.ones(shape, dtype=np.int64)
