"""How the sparsity of a model is distributed over its kernels."""

import abc
import dataclasses
import math
import numbers
from collections.abc import Mapping

import keras
import numpy as np

from tfcompress.keras_graph.custom_kernels import find_all_kernels
from tfcompress.keras_graph.kernels import Kernel
from tfcompress.pruning.masks import count_masked, smallest, smallest_by_size
from tfcompress.pruning.patterns import NofM, Pattern
from tfcompress.pruning.schedules import Schedule

PerLayerValue = float | Mapping[str, float] | None


class SparsityDistribution(abc.ABC):
    """Chooses from the scores of all kernels which groups of weights are masked."""

    @abc.abstractmethod
    def choose(
        self, scores: list[np.ndarray], sizes: list[np.ndarray], sparsity: float
    ) -> list[np.ndarray]:
        """Mark the groups to mask at an overall sparsity in [0, 1).

        ``scores`` and ``sizes`` hold the score of each group (infinite: keep it) and its number of
        weights, an array per kernel. Returns boolean arrays of the same shapes.
        """


@dataclasses.dataclass(frozen=True)
class PerLayer(SparsityDistribution):
    """Every kernel follows the schedule; ``factors`` scale its sparsity kernel by kernel."""

    factors: tuple[float, ...]

    def choose(self, scores, sizes, sparsity):
        """Mark the smallest scores of each kernel."""
        return [
            smallest(score, count_masked(score.size, sparsity * factor))
            for score, factor in zip(scores, self.factors, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class ErdosRenyiKernel(SparsityDistribution):
    """Small kernels, given by ``shapes``, stay denser; the overall sparsity is exact.

    Source: Evci et al., "Rigging the lottery", 2020, section 3 (ERK).
    """

    shapes: tuple[tuple[int, ...], ...]

    def choose(self, scores, sizes, sparsity):
        """Mark the smallest scores of each kernel, as many as its share."""
        shares = erdos_renyi_kernel(self.shapes, sparsity)
        counts = largest_remainder([score.size for score in scores], shares)
        return [smallest(score, count) for score, count in zip(scores, counts, strict=True)]


@dataclasses.dataclass(frozen=True)
class LayerAdaptive(SparsityDistribution):
    """One threshold for the whole model, of scores that kernels of any scale and size share.

    Source: Lee et al., "Layer-adaptive sparsity for the magnitude-based pruning", 2021 (LAMP).
    """

    def choose(self, scores, sizes, sparsity):
        """Mark the smallest relative scores of the model; the largest of each kernel stays."""
        # In its kernel a score keeps its rank: how many to mask there is all that is to be found.
        relative = [layer_adaptive(np.sort(score, axis=None)) for score in scores]
        for shares in relative:
            shares[-1] = np.inf
        flat_sizes = np.concatenate([size.ravel() for size in sizes])
        total = round(int(flat_sizes.sum()) * sparsity)
        marked = smallest_by_size(np.concatenate(relative), flat_sizes, total)
        parts = np.split(marked, np.cumsum([score.size for score in scores])[:-1])
        return [
            smallest(score, np.count_nonzero(part))
            for score, part in zip(scores, parts, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class GlobalThreshold(SparsityDistribution):
    """One threshold for the whole model: less important kernels become sparser.

    ``min_sparsity`` and ``max_sparsity`` bound each kernel at the ``final`` sparsity of the
    schedule; the minimum grows in proportion until then. One group of each kernel always stays.
    """

    min_sparsity: tuple[float, ...]
    max_sparsity: tuple[float, ...]
    final: float

    def choose(self, scores, sizes, sparsity):
        """Mark the smallest scores of the model."""
        progress = sparsity / self.final if self.final else 0.0
        bounded = [
            _bounded(score, low * progress, high)
            for score, low, high in zip(scores, self.min_sparsity, self.max_sparsity, strict=True)
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


def _bounded(scores, low, high):
    """Return the scores with -inf where the minimum sparsity masks, inf beyond the maximum."""
    bounded = scores.astype(np.float64)
    bounded[smallest(scores, count_masked(scores.size, low))] = -np.inf
    bounded[~smallest(scores, count_masked(scores.size, high))] = np.inf
    return bounded


def layer_adaptive(ascending: np.ndarray) -> np.ndarray:
    """Return each score's square as a share of the sum of its own and those of larger scores.

    Takes the sorted scores of a kernel, shape (n,); the largest becomes 1. Infinite scores stay,
    and so do those of zero or less, of weights that are masked.

    Example:
    >>> layer_adaptive(np.array([0.0, 1.0, 2.0]))
    array([0. , 0.2, 1. ])
    """
    relative = ascending.astype(np.float64)
    counted = (relative > 0) & np.isfinite(relative)
    squares = np.square(relative[counted])
    relative[counted] = squares / np.cumsum(squares[::-1])[::-1]
    return relative


def erdos_renyi_kernel(shapes: list[tuple[int, ...]], sparsity: float) -> list[float]:
    """Return the sparsity of each kernel under the Erdos-Renyi-Kernel rule.

    The density of a kernel is proportional to the sum of its axes divided by their product, at
    most 1; the excess of a kernel at 1 goes to the others.

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
    """Round ``size * share`` to integers below each size whose sum is the rounded sum.

    Example:
    >>> largest_remainder([5, 5, 5], [0.5, 0.5, 0.5])
    [3, 3, 2]
    """
    exact = np.asarray(sizes) * np.asarray(shares)
    # The epsilon counts 2.999..., a rounding error, as 3.
    counts = np.minimum(np.floor(exact + 1e-9).astype(np.int64), np.asarray(sizes) - 1)
    missing = round(float(exact.sum())) - counts.sum()
    for index in np.argsort(counts - exact, kind="stable"):
        if missing <= 0:
            break
        if counts[index] < sizes[index] - 1:
            counts[index] += 1
            missing -= 1
    return [int(count) for count in counts]


def make_distribution(
    model: keras.Model,
    kernels: list[Kernel],
    pattern: Pattern,
    schedule: Schedule,
    *,
    scope: str,
    sparsity_distribution: str,
    layer_sparsity: PerLayerValue,
    min_sparsity: PerLayerValue,
    max_sparsity: PerLayerValue,
) -> SparsityDistribution:
    """Make the distribution that the arguments of ``MagnitudePruning`` describe, checked."""
    _check_choice("scope", scope, ("layer", "global"))
    _check_choice("sparsity_distribution", sparsity_distribution, ("uniform", "erk", "lamp"))
    bounds = (min_sparsity, max_sparsity)
    _check_combination(scope, sparsity_distribution, layer_sparsity, *bounds)
    for kernel in kernels:
        pattern.check(kernel.path, tuple(kernel.variable.shape), kernel.output_axes)
    final, highest = schedule.final, schedule.highest
    if scope == "global":
        pattern.check_sparsity(final, highest)
        low = per_kernel(model, kernels, "min_sparsity", min_sparsity, default=0.0)
        high = per_kernel(model, kernels, "max_sparsity", max_sparsity, default=1.0)
        _check_bounds(kernels, low, high, highest, final)
        return GlobalThreshold(tuple(low), tuple(high), final)
    if sparsity_distribution != "uniform" and isinstance(pattern, NofM):
        raise ValueError(
            "An N:M pattern gives every kernel the same sparsity, which "
            f"sparsity_distribution={sparsity_distribution!r} does not. Use "
            "sparsity_distribution='uniform'. "
            f"Received: sparsity_distribution={sparsity_distribution!r}, pattern={pattern}"
        )
    if sparsity_distribution == "lamp":
        return LayerAdaptive()
    if sparsity_distribution == "erk":
        return ErdosRenyiKernel(tuple(tuple(kernel.variable.shape) for kernel in kernels))
    wanted = per_kernel(model, kernels, "layer_sparsity", layer_sparsity, default=final)
    factors = [target / final if final else 1.0 for target in wanted]
    for kernel, target, factor in zip(kernels, wanted, factors, strict=True):
        pattern.check_sparsity(target, highest * factor)
        if highest * factor >= 1.0:
            raise ValueError(
                f"Kernel {kernel.path!r} would reach a sparsity of {highest * factor:.4g} on the "
                f"way to {target}, because the schedule peaks at {highest}. Lower the peak or the "
                f"sparsity of the layer. Received: layer_sparsity={layer_sparsity!r}"
            )
    return PerLayer(tuple(factors))


def per_kernel(
    model: keras.Model, kernels: list[Kernel], name: str, value: PerLayerValue, default: float
) -> list[float]:
    """Return the number that a per-layer argument, called ``name``, gives to each kernel."""
    if value is None:
        return [default] * len(kernels)
    if isinstance(value, numbers.Real):
        return [_checked(name, value, value)] * len(kernels)
    if not isinstance(value, Mapping):
        raise TypeError(
            f"`{name}` must be a number or a mapping from regular expressions of layer paths to "
            f"numbers. Received: {name}={value!r} of type {type(value).__name__}"
        )
    chosen: dict[int, float] = {}
    ours = {id(kernel.variable) for kernel in kernels}
    for selector, number in value.items():
        _checked(name, number, value)
        matched = {id(kernel.variable) for kernel in find_all_kernels(model, selector)} & ours
        if not matched:
            raise ValueError(
                f"`{name}` selects no pruned kernel with {selector!r}. The pruned kernels are: "
                f"{', '.join(kernel.path for kernel in kernels)}. Received: {name}={value!r}"
            )
        for variable in matched:
            chosen.setdefault(variable, number)
    return [chosen.get(id(kernel.variable), default) for kernel in kernels]


def _checked(name, number, received):
    """Return a sparsity in [0, 1)."""
    if not isinstance(number, numbers.Real) or not 0.0 <= number < 1.0:
        raise ValueError(f"`{name}` must lie in [0, 1). Received: {name}={received!r}")
    return number


def _check_choice(name, value, supported):
    """Raise ValueError for an unknown name."""
    if value not in supported:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, supported))}. Received: {name}={value!r}"
        )


def _check_combination(scope, distribution, layer_sparsity, min_sparsity, max_sparsity):
    """Raise ValueError for arguments that exclude each other."""
    if scope == "global" and (distribution != "uniform" or layer_sparsity is not None):
        raise ValueError(
            "scope='global' ranks the weights of the whole model and bounds layers with "
            "`min_sparsity` and `max_sparsity`; `sparsity_distribution` and `layer_sparsity` "
            f"require scope='layer'. Received: sparsity_distribution={distribution!r}, "
            f"layer_sparsity={layer_sparsity!r}"
        )
    if scope == "layer" and (min_sparsity is not None or max_sparsity is not None):
        raise ValueError(
            "`min_sparsity` and `max_sparsity` require scope='global'. With scope='layer' use "
            "`layer_sparsity`. "
            f"Received: min_sparsity={min_sparsity!r}, max_sparsity={max_sparsity!r}"
        )
    if distribution != "uniform" and layer_sparsity is not None:
        raise ValueError(
            f"`layer_sparsity` sets the sparsity of layers and sparsity_distribution="
            f"{distribution!r} computes it: use one of them. "
            f"Received: layer_sparsity={layer_sparsity!r}"
        )


def _check_bounds(kernels, low, high, highest, final):
    """Raise ValueError for bounds that exclude each other or the schedule."""
    for kernel, least, most in zip(kernels, low, high, strict=True):
        if least > most:
            raise ValueError(
                f"The `min_sparsity` of kernel {kernel.path!r} is above its `max_sparsity`. "
                f"Received: min_sparsity={least}, max_sparsity={most}"
            )
    sizes = np.array([kernel.size for kernel in kernels])
    least, most = sizes @ low / sizes.sum(), sizes @ high / sizes.sum()
    if final < least or highest > most:
        raise ValueError(
            f"`min_sparsity` and `max_sparsity` allow overall sparsities from {least:.4g} to "
            f"{most:.4g}, but the schedule ends at {final:.4g} and peaks at {highest:.4g}. Widen "
            "the bounds or change the schedule. "
            f"Received: min_sparsity={list(low)}, max_sparsity={list(high)}"
        )
