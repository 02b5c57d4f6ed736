"""Sparse training from scratch: the number of weights stays, the places move.

Every few steps the smallest weights of each kernel are given up and as many are grown elsewhere,
from zero. How many falls along half a cosine, so that the places settle.
"""

import math

import numpy as np

from tfcompress.pruning.criteria import Random
from tfcompress.pruning.masks import smallest
from tfcompress.pruning.pruner import Pruner


def drop_fraction(initial: float, progress: float) -> float:
    """Return the share of the present weights that is given up.

    Args:
        initial: the share at the beginning.
        progress: how much of the training has passed, in [0, 1].

    Example:
    >>> drop_fraction(0.3, 0.0), drop_fraction(0.3, 0.5), drop_fraction(0.3, 1.0)
    (0.3, 0.15, 0.0)

    Source: Evci et al., "Rigging the lottery", 2020, section 3.
    """
    return initial / 2 * (1 + math.cos(math.pi * progress))


def rewired(mask: np.ndarray, weights: np.ndarray, growth: np.ndarray, count: int) -> np.ndarray:
    """Give up the smallest weights and grow as many others.

    What is given up may grow again at once, if nothing else deserves the place more.

    Args:
        mask: boolean array, True where there is a weight.
        weights: of the shape of the mask.
        growth: scores of the same shape; the largest are grown.
        count: how many.

    Returns:
        A mask with as many True as before.

    Example:
    >>> rewired(
    ...     mask=np.array([True, True, True, False, False]),
    ...     weights=np.array([3.0, 0.1, 2.0, 0.0, 0.0]),
    ...     growth=np.array([9.0, 0.2, 9.0, 0.5, 0.1]),
    ...     count=1,
    ... )
    array([ True, False,  True,  True, False])
    """
    kept = mask & ~smallest(np.where(mask, np.abs(weights), np.inf), count)
    return kept | smallest(np.where(kept, np.inf, -growth), count)


class RewiringPruner(Pruner):
    """A pruner whose masks start at random and then move, their number staying the same.

    The criterion says where weights grow: at its largest scores.
    """

    def start(self, sparsity: float, seed: int) -> None:
        """Draw masks at a sparsity, and apply them."""
        shapes = [tuple(kernel.variable.shape) for kernel in self.kernels]
        draw = Random(seed)
        scores = [draw.scores(np.empty(shape), index) for index, shape in enumerate(shapes)]
        sizes = [np.ones(shape) for shape in shapes]
        self.set_masks([~gone for gone in self._allocation.choose(scores, sizes, sparsity)])

    def rewire(self, fraction: float, growth: list[np.ndarray]) -> None:
        """Move a fraction of the weights of each kernel to where they grow.

        Args:
            fraction: in [0, 1].
            growth: for each kernel the scores of where to grow.
        """
        weights = [kernel.variable.value.numpy() for kernel in self.kernels]
        self.set_masks(
            [
                rewired(mask, values, scores, round(fraction * np.count_nonzero(mask)))
                for mask, values, scores in zip(self.masks(), weights, growth, strict=True)
            ]
        )

    def recover(self, sparsity: float, moved: float = 0.0) -> bool:
        """Take the zeros among the weights for masks, if they can be what rewiring leaves.

        Weights that have grown and not been trained yet are zero as well: which ones cannot be
        told, so they are drawn.

        Args:
            sparsity: the constant sparsity.
            moved: the share of weights that may have grown just now.

        Returns:
            Whether each kernel holds as many zeros as that leaves, and some does.
        """
        zeros = [kernel.variable.value.numpy() == 0 for kernel in self.kernels]
        draws = [Random().scores(zero, index) for index, zero in enumerate(zeros)]
        ranked = [np.where(zero, draw, np.inf) for zero, draw in zip(zeros, draws, strict=True)]
        sizes = [np.ones(zero.shape) for zero in zeros]
        gone = self._allocation.choose(ranked, sizes, sparsity)
        spare = [
            np.count_nonzero(zero) - np.count_nonzero(masked)
            for zero, masked in zip(zeros, gone, strict=True)
        ]
        most = [round(moved * np.count_nonzero(~masked)) for masked in gone]
        fits = all(0 <= extra <= limit for extra, limit in zip(spare, most, strict=True))
        recovered = fits and any(masked.any() for masked in gone)
        if recovered:
            self.set_masks([~masked for masked in gone])
        return recovered
