"""How a budget of zeros is shared out among the kernels of a model.

An allocation chooses, from the scores of all kernels, which groups are masked at a sparsity.
"""

import abc
import dataclasses
import math

import numpy as np

from tfcompress.pruning.masks import count_masked, smallest, smallest_by_size


class Allocation(abc.ABC):
    """What all allocations share."""

    @abc.abstractmethod
    def choose(
        self, scores: list[np.ndarray], sizes: list[np.ndarray], sparsity: float
    ) -> list[np.ndarray]:
        """Mark the groups to mask.

        Args:
            scores: for each kernel the scores of its groups, infinite where one must be kept.
            sizes: for each kernel the number of weights of its groups.
            sparsity: the share of all weights to mask, in [0, 1).

        Returns:
            For each kernel a boolean array of the shape of its scores.
        """


@dataclasses.dataclass(frozen=True)
class PerLayer(Allocation):
    """Each kernel at the sparsity of the schedule, or at a multiple of it.

    Args:
        factors: for each kernel its sparsity as a multiple of the schedule's.
    """

    factors: tuple[float, ...]

    def choose(self, scores, sizes, sparsity):
        """Mark the smallest scores of each kernel."""
        return [
            smallest(score, count_masked(score.size, sparsity * factor))
            for score, factor in zip(scores, self.factors, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class ErdosRenyiKernel(Allocation):
    """Small kernels denser than large ones, the sum as the schedule says.

    Args:
        shapes: the shapes of the kernels.

    Source: Evci et al., "Rigging the lottery", 2020, section 3 (ERK).
    """

    shapes: tuple[tuple[int, ...], ...]

    def choose(self, scores, sizes, sparsity):
        """Mark the smallest scores of each kernel, as many as is its share."""
        shares = erdos_renyi_kernel(self.shapes, sparsity)
        counts = largest_remainder([score.size for score in scores], shares)
        return [smallest(score, count) for score, count in zip(scores, counts, strict=True)]


@dataclasses.dataclass(frozen=True)
class GlobalThreshold(Allocation):
    """One threshold over the whole model: kernels that matter less end sparser.

    Args:
        floors: for each kernel the share of its groups that is masked at the final sparsity at
            least, and in proportion before.
        ceilings: for each kernel the share of its groups that is ever masked at most. One group
            of each kernel always stays.
        final: the final sparsity of the schedule.
    """

    floors: tuple[float, ...]
    ceilings: tuple[float, ...]
    final: float

    def choose(self, scores, sizes, sparsity):
        """Mark the smallest scores of the model."""
        progress = sparsity / self.final if self.final else 0.0
        bounded = [
            _bounded(score, floor * progress, ceiling)
            for score, floor, ceiling in zip(scores, self.floors, self.ceilings, strict=True)
        ]
        flat_sizes = np.concatenate([size.ravel() for size in sizes])
        marked = smallest_by_size(
            np.concatenate([score.ravel() for score in bounded]),
            flat_sizes,
            round(int(flat_sizes.sum()) * sparsity),
        )
        ends = np.cumsum([score.size for score in scores])
        parts = np.split(marked, ends[:-1])
        return [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]


def _bounded(scores, floor, ceiling):
    """Return scores that are -inf for what must go and inf for what must stay."""
    bounded = scores.astype(np.float64)
    bounded[smallest(scores, count_masked(scores.size, floor))] = -np.inf
    bounded[~smallest(scores, count_masked(scores.size, ceiling))] = np.inf
    return bounded


def erdos_renyi_kernel(shapes: list[tuple[int, ...]], sparsity: float) -> list[float]:
    """Return the sparsity of each kernel under the Erdos-Renyi-Kernel rule.

    The density of a kernel is in proportion to the sum of its axes over their product, up to 1;
    what a kernel at 1 cannot take is spread over the others.

    Args:
        shapes: the shapes of the kernels.
        sparsity: the share of all weights that are zero, in [0, 1).

    Example:
    >>> erdos_renyi_kernel([(2, 2), (8, 8)], 0.5)
    [0.0, 0.53125]
    """
    sizes = np.array([math.prod(shape) for shape in shapes], dtype=np.float64)
    raw = np.array([sum(shape) for shape in shapes]) / sizes
    dense = np.zeros(len(shapes), dtype=bool)
    kept = (1.0 - sparsity) * sizes.sum()
    while True:
        scale = (kept - sizes[dense].sum()) / (raw * sizes)[~dense].sum() if not dense.all() else 0
        density = np.where(dense, 1.0, raw * scale)
        over = density > 1.0
        if not over.any():
            return [float(share) for share in 1.0 - density]
        dense |= over


def largest_remainder(sizes: list[int], shares: list[float]) -> list[int]:
    """Round ``size * share`` to whole numbers whose sum is the rounded sum, each below its size.

    Args:
        sizes: whole numbers, at least 1.
        shares: in [0, 1], one for each size.

    Example:
    >>> largest_remainder([5, 5, 5], [0.5, 0.5, 0.5])
    [3, 3, 2]
    """
    exact = np.asarray(sizes) * np.asarray(shares)
    # A hair is added so that 3.0 written as 2.999... counts as 3.
    counts = np.minimum(np.floor(exact + 1e-9).astype(np.int64), np.asarray(sizes) - 1)
    missing = round(float(exact.sum())) - counts.sum()
    for index in np.argsort(counts - exact, kind="stable"):
        if missing <= 0:
            break
        if counts[index] < sizes[index] - 1:
            counts[index] += 1
            missing -= 1
    return [int(count) for count in counts]
