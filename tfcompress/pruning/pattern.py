"""What a pattern of sparsity is.

A pattern pools the scores of a kernel's weights into scores of groups, and spreads a decision about
groups back to the weights.
"""

import dataclasses

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
