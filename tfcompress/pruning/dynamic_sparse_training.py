"""Dynamic sparse training: the number of weights is constant, their positions move.

Every few steps the smallest weights of each kernel are dropped and as many are grown elsewhere,
from zero. The number that moves falls along half a cosine, so that the positions converge.
"""

import math

import numpy as np

from tfcompress.pruning.criteria import Random
from tfcompress.pruning.masks import smallest
from tfcompress.pruning.pruner import Pruner


def drop_fraction(initial: float, progress: float) -> float:
    """Return the fraction of weights to drop at a progress in [0, 1] of the training.

    Example:
    >>> drop_fraction(0.3, 0.0), drop_fraction(0.3, 0.5), drop_fraction(0.3, 1.0)
    (0.3, 0.15, 0.0)

    Source: Evci et al., "Rigging the lottery", 2020, section 3.
    """
    return initial / 2 * (1 + math.cos(math.pi * progress))


def rewired(mask: np.ndarray, weights: np.ndarray, growth: np.ndarray, count: int) -> np.ndarray:
    """Drop the ``count`` smallest weights and grow as many where ``growth`` is largest.

    A dropped weight may grow again at once. The arrays have one shape.

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
    """A pruner with random initial masks that move; the criterion says where weights grow."""

    def start(self, sparsity: float, seed: int) -> None:
        """Draw masks at a sparsity and apply them."""
        shapes = [tuple(kernel.variable.shape) for kernel in self.kernels]
        draw = Random(seed)
        scores = [draw.scores(np.empty(shape), index) for index, shape in enumerate(shapes)]
        sizes = [np.ones(shape) for shape in shapes]
        self.set_masks([~gone for gone in self._distribution.choose(scores, sizes, sparsity)])

    def rewire(self, fraction: float, growth: list[np.ndarray]) -> None:
        """Move a fraction of each kernel's weights to where its ``growth`` scores are largest."""
        self.set_masks(
            [
                rewired(mask, values, scores, round(fraction * np.count_nonzero(mask)))
                for mask, values, scores in zip(self.masks(), self.weights(), growth, strict=True)
            ]
        )

    def recover(self, sparsity: float, moved: float = 0.0) -> bool:
        """Take the zeros among the weights as masks if rewiring can have left them.

        Weights that have just grown (a fraction ``moved`` at most) are still zero: they cannot be
        told from masked ones, so they are drawn. Returns whether the masks were recovered.
        """
        zeros = [weights == 0 for weights in self.weights()]
        draws = [Random().scores(zero, index) for index, zero in enumerate(zeros)]
        ranked = [np.where(zero, draw, np.inf) for zero, draw in zip(zeros, draws, strict=True)]
        sizes = [np.ones(zero.shape) for zero in zeros]
        gone = self._distribution.choose(ranked, sizes, sparsity)
        spare = [
            np.count_nonzero(zero) - np.count_nonzero(masked)
            for zero, masked in zip(zeros, gone, strict=True)
        ]
        limits = [round(moved * np.count_nonzero(~masked)) for masked in gone]
        fits = all(0 <= extra <= limit for extra, limit in zip(spare, limits, strict=True))
        recovered = fits and any(masked.any() for masked in gone)
        if recovered:
            self.set_masks([~masked for masked in gone])
        return recovered
