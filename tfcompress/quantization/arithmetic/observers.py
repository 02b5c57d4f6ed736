"""How the range of a tensor follows from the values that it takes.

An observer sees a batch and says what range it asks for (``observe``), and then how the range so
far moves towards it (``follow``). Both are pure, so that they are traced into a training step. A
range is a float32 tensor [smallest, largest] that contains zero; before the first batch it is
``NO_RANGE``.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from tfcompress.backends import first_rows, graph_operation, traced
from tfcompress.quantization.arithmetic.fake_quantization import behind_rectifier, grid_levels
from tfcompress.quantization.arithmetic.masks import BELOW_SCORES, MASKED, least_that_counts

NO_RANGE = (0.0, -1.0)

# What these operations give has its minimum at zero, which need not be searched for.
_NEVER_NEGATIVE = frozenset({"Abs", "Relu", "Relu6", "Sigmoid", "Softmax", "Square"})

MAY_MASK = frozenset({"Add", "AddV2", "Mul", "SelectV2", "Sub"})

_BINS = 2048  # of the histograms; an 8-bit grid has 256 steps
_CANDIDATES = 64  # ranges that are tried
_ALMOST_NOTHING = 1e-6  # of the values: what a level without any counts as


def observed_range(values, examples=None):
    """Return the float32 tensor [min(x, 0), max(x, 0)] of a tensor.

    Behind a rectifier it follows from what that reads, which need not be computed then.
    ``examples``, an integer tensor (1,), is how many of its first rows are looked at; all if None.

    Example:
    >>> observed_range(tf.constant([1.0, -2.0, 3.0]), examples=tf.constant([2])).numpy()
    array([-2.,  1.], dtype=float32)
    """
    kind = _kind(values)
    source, limit = behind_rectifier(values) or (values, np.inf)
    return _range_of(
        ops.stop_gradient(source),
        examples if len(source.shape) else None,
        largest=float(limit),
        never_negative=kind in _NEVER_NEGATIVE,
        may_mask=kind is None or kind in MAY_MASK,
    )


@traced
def _range_of(values, examples, *, largest, never_negative, may_mask):
    """Return the range of values that are clipped to ``largest``, and to zero or not."""
    values = ops.reshape(values if examples is None else first_rows(values, examples), [-1])
    smallest = ops.convert_to_tensor(0.0)
    if not never_negative:
        smallest = ops.minimum(ops.cast(ops.min(values), "float32"), 0.0)
        if may_mask:
            smallest = ops.cond(
                smallest < MASKED,
                lambda: ops.minimum(
                    least_that_counts(ops.cast(values, "float32"), BELOW_SCORES), 0.0
                ),
                lambda: smallest,
            )
    largest = ops.minimum(ops.maximum(ops.cast(ops.max(values), "float32"), 0.0), largest)
    return ops.stack([smallest, largest])


def _kind(values):
    """Return the type of the operation that computed a tensor in a graph, None elsewhere."""
    operation = graph_operation(values)
    if operation is None:
        return None
    while operation.type in ("StopGradient", "StridedSlice"):  # only part of it is observed
        operation = operation.inputs[0].op
    return operation.type


def is_seen(value_range):
    """Tell whether ranges (..., 2) have been observed: a bool tensor (...)."""
    return ops.logical_not(value_range[..., 0] > value_range[..., 1])


def wider_range(first, second):
    """Join two ranges, as tensors that share one scale need it.

    Example:
    >>> wider_range(tf.constant([-1.0, 2.0]), tf.constant([-3.0, 1.0])).numpy()
    array([-3.,  2.], dtype=float32)
    """
    return ops.stack([ops.minimum(first[0], second[0]), ops.maximum(first[1], second[1])])


def moving_range(previous, observed, momentum):
    """Average ranges over batches, starting from the first batch instead of a made-up range.

    Example:
    >>> moving_range(tf.constant(NO_RANGE), tf.constant([-1.0, 2.0]), 0.9).numpy()
    array([-1.,  2.], dtype=float32)
    """
    kept = _kept(previous, momentum)
    return previous * kept + observed * (1.0 - kept)


def _kept(ranges, momentum):
    """Return the weights of ranges so far: none before the first batch."""
    return ops.where(is_seen(ranges), momentum, 0.0)[..., None]


def histogram(values, value_range, bins=_BINS):
    """Count the values of a tensor in bins of equal width.

    Example:
    >>> histogram(tf.constant([0.1, 0.2, 0.9]), tf.constant([0.0, 1.0]), bins=2)[0].numpy()
    array([2., 1.], dtype=float32)
    """
    smallest, largest = ops.unstack(value_range, 2)
    width = (largest - smallest) / bins
    values = ops.reshape(ops.cast(ops.stop_gradient(values), "float32"), [-1])
    places = ops.cast(ops.divide_no_nan(values - smallest, width), "int32")
    counts = ops.segment_sum(ops.ones_like(values), ops.clip(places, 0, bins - 1), bins)
    return counts, smallest + width * ops.arange(bins + 1, dtype="float32")


def percentile_range(counts, edges, percentile):
    """Find the range that leaves out the rarest values at either end.

    Example:
    >>> counts, edges = tf.constant([1.0, 98.0, 0.0, 1.0]), tf.constant([-1.0, 0.0, 1.0, 2.0, 3.0])
    >>> percentile_range(counts, edges, 98.5).numpy()
    array([0., 1.], dtype=float32)
    """
    below = ops.cumsum(counts)
    total = below[-1]
    rare = total * (1.0 - percentile / 100.0)
    first = ops.sum(ops.cast(below <= rare, "int32"))
    last = ops.sum(ops.cast(below < total - rare, "int32")) + 1
    ends = ops.take(edges, first), ops.take(edges, last)
    return ops.stack([ops.minimum(ends[0], 0.0), ops.maximum(ends[1], 0.0)])


def least_error_range(counts, edges, bits, symmetric):
    """Find the range whose grid is nearest to the values, in the mean of squares.

    A narrower range has finer steps and clips more. For each end in turn, 64 places from zero to
    the outermost value are tried, or for both at once if the grid is symmetric.
    """
    centres = (edges[:-1] + edges[1:]) / 2.0

    def errors(smallest, largest):
        lowest, highest, step = grid_levels(smallest, largest, bits, symmetric)
        lowest, highest, step = lowest[:, None], highest[:, None], step[:, None]
        rounded = step * ops.clip(ops.round(centres / step), lowest, highest)
        return ops.sum(counts * ops.square(rounded - centres), axis=1)

    return _best_ends(edges, symmetric, errors)


def least_divergence_range(counts, edges, bits, symmetric):
    """Find the range whose levels keep most of what the distribution of the values says.

    Values outside count at the ends of the range, but no level stands for them: so much is lost by
    clipping. Inside, the values of a level are as good as spread evenly over its bins: so much is
    lost by steps that are too long. Both are the Kullback-Leibler divergence from one distribution
    to the other. Zeros are left out: every grid holds them. Ranges are tried as in
    ``least_error_range``.

    Method: Migacz, "8-bit Inference with TensorRT", 2017,
    https://www.cse.iitd.ac.in/~rijurekha/course/tensorrt.pdf.
    """
    centres = (edges[:-1] + edges[1:]) / 2.0
    bins = counts.shape[0]
    counts = ops.where(ops.logical_and(edges[:-1] <= 0, edges[1:] > 0), 0.0, counts)

    def divergence(ends):
        lowest, highest, step = grid_levels(ends[0], ends[1], bits, symmetric)
        levels = ops.round(centres / step)
        inside = ops.logical_and(levels >= lowest, levels <= highest)
        places = ops.cast(ops.clip(levels, lowest, highest) - lowest, "int32")
        kept = ops.where(inside, counts, 0.0)
        of_level = ops.segment_sum(kept, places, 2**bits)
        filled = ops.cast(kept > 0, "float32")
        bins_of_level = ops.segment_sum(filled, places, 2**bits)
        spread = filled * ops.take(ops.divide_no_nan(of_level, bins_of_level), places)
        # What lies outside is counted in the outermost bins inside.
        all_bins = ops.arange(bins, dtype="int32")
        inner = ops.min(ops.where(inside, all_bins, bins)), ops.max(ops.where(inside, all_bins, -1))
        whole = ops.segment_sum(counts, ops.clip(all_bins, *inner), bins)
        return _divergence(whole, spread)

    def divergences(smallest, largest):
        return ops.map(divergence, ops.stack([smallest, largest], 1))

    return _best_ends(edges, symmetric, divergences)


def _divergence(first, second):
    """Return the Kullback-Leibler divergence of two histograms from each other."""
    first = ops.divide_no_nan(first, ops.sum(first))
    second = ops.divide_no_nan(second, ops.sum(second))
    ratio = first / ops.maximum(second, _ALMOST_NOTHING)
    return ops.sum(ops.where(first > 0, first * ops.log(ops.maximum(ratio, 1e-30)), 0.0))


def _best_ends(edges, symmetric: bool, costs: Callable):
    """Return the best of the ranges that are tried."""
    shares = ops.arange(1, _CANDIDATES + 1, dtype="float32") / _CANDIDATES

    def best(smallest, largest):
        return ops.argmin(costs(smallest, largest))

    ends = [shares * edges[0], shares * edges[-1]]
    if symmetric:
        place = best(*ends)
        return ops.stack([ops.take(end, place) for end in ends])
    smallest = edges[0] * ops.ones_like(shares)
    largest = ops.take(ends[1], best(smallest, ends[1])) * ops.ones_like(shares)
    smallest = ops.take(ends[0], best(ends[0], largest)) * ops.ones_like(shares)
    # The first end may have been an outlier.
    return ops.stack([smallest[0], ops.take(ends[1], best(smallest, ends[1]))])


def _moved(past, gain, observed):
    """Return the sum of what is kept of a range and what comes in."""
    return past + observed * gain


@keras.saving.register_keras_serializable(package="tfcompress")
class MovingAverage:
    """The smallest and the largest value of a batch, averaged over batches.

    Args:
        momentum: the weight of the past, 0 to 1. The average starts from the first batch.

    Raises:
        ValueError: ``momentum`` is not in [0, 1).

    Method: Jacob et al., 2018, https://arxiv.org/abs/1712.05877, section 3.1.
    """

    def __init__(self, momentum: float = 0.95):
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum` must be in [0, 1). Received: momentum={momentum!r}")
        self.momentum = momentum

    def observe(self, values: Any, bits: int, symmetric: bool) -> Any:
        """Return the range that a batch asks for.

        Args:
            values: float tensor of any shape.
            bits: bits of the grid that the range is for.
            symmetric: whether that grid is symmetric around zero.

        Returns:
            float32 tensor (2,).
        """
        del bits, symmetric
        return observed_range(values)

    def follow(self, previous: Any, observed: Any) -> Any:
        """Return the next range.

        Args:
            previous: float32 tensor (2,), the range so far; ``NO_RANGE`` before the first batch.
            observed: float32 tensor (2,), from ``observe``.

        Returns:
            float32 tensor (2,).
        """
        return moving_range(previous, observed, self.momentum)

    def followers(self, ranges: Any, moving: Any | None = None) -> list[Callable[[Any], Any]]:
        """Return for each range so far what ``follow`` makes of what a batch asks for.

        Args:
            ranges: float32 tensor (rows, 2).
            moving: bool scalar; where it is False, ranges stay. ``None`` if they never do.

        Returns:
            Functions from a float32 tensor (2,) to another.
        """
        before = ops.unstack(ranges, ranges.shape[0])
        if type(self).follow is not MovingAverage.follow:
            return [functools.partial(self._followed, moving, previous) for previous in before]
        # For all at once: a model has a hundred ranges, and each operation costs a microsecond.
        kept = _kept(ranges, self.momentum)
        kept = kept if moving is None else ops.where(moving, kept, 1.0)
        past, gain = (ops.unstack(each, ranges.shape[0]) for each in (ranges * kept, 1.0 - kept))
        return [functools.partial(_moved, *row) for row in zip(past, gain, strict=True)]

    def over_batches(self, asked: Sequence[np.ndarray]) -> np.ndarray:
        """Return the ranges that batches ask for together, whatever their order: the mean.

        Args:
            asked: for each batch, float32 (rows, 2).

        Returns:
            float32 array (rows, 2).
        """
        if type(self).follow is MovingAverage.follow:
            return np.mean(asked, axis=0)
        ranges = asked[0]
        for more in asked[1:]:
            rows = [self.follow(*row) for row in zip(ranges, more, strict=True)]
            ranges = np.reshape([ops.convert_to_numpy(row) for row in rows], ranges.shape)
        return ranges

    def _followed(self, moving, previous, observed):
        """Return the next range, where ranges follow."""
        followed = self.follow(previous, observed)
        return followed if moving is None else ops.where(moving, followed, previous)

    def get_config(self) -> dict:
        """Return the arguments."""
        return {"momentum": self.momentum}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build an observer from ``get_config``'s data."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfcompress")
class MinMax(MovingAverage):
    """The smallest and the largest value ever seen: no value is clipped, outliers decide."""

    def __init__(self):
        super().__init__()

    def follow(self, previous: Any, observed: Any) -> Any:
        """Return the range that holds both."""
        return ops.where(is_seen(previous), wider_range(previous, observed), observed)

    def get_config(self) -> dict:
        """Return no arguments: there are none."""
        return {}


@keras.saving.register_keras_serializable(package="tfcompress")
class Percentile(MovingAverage):
    """The range of a batch without its rarest values, averaged over batches.

    Args:
        percentile: the share of values in percent that lies below the end of the range, and
            likewise above its beginning; more than 50, at most 100.
        momentum: see ``MovingAverage``.

    Raises:
        ValueError: an argument is out of its bounds.
    """

    def __init__(self, percentile: float = 99.99, momentum: float = 0.95):
        super().__init__(momentum)
        if not 50 < percentile <= 100:
            raise ValueError(
                f"`percentile` must be in (50, 100]. Received: percentile={percentile!r}"
            )
        self.percentile = percentile

    def observe(self, values: Any, bits: int, symmetric: bool) -> Any:
        """Return the range that a batch asks for; see ``MovingAverage.observe``."""
        del bits, symmetric
        return percentile_range(*histogram(values, observed_range(values)), self.percentile)

    def get_config(self) -> dict:
        """Return the arguments."""
        return {**super().get_config(), "percentile": self.percentile}


@keras.saving.register_keras_serializable(package="tfcompress")
class LeastError(MovingAverage):
    """The range whose grid is nearest to the values of a batch, averaged over batches.

    Args:
        momentum: see ``MovingAverage``.

    Method: least mean squared error, as in Nagel et al., "A White Paper on Neural Network
    Quantization", 2021, https://arxiv.org/abs/2106.08295, section 3.1.
    """

    def observe(self, values: Any, bits: int, symmetric: bool) -> Any:
        """Return the range that a batch asks for; see ``MovingAverage.observe``."""
        counts, edges = histogram(values, observed_range(values))
        return least_error_range(counts, edges, bits, symmetric)


@keras.saving.register_keras_serializable(package="tfcompress")
class LeastDivergence(MovingAverage):
    """The range that keeps most of the distribution of a batch, averaged over batches.

    Args:
        momentum: see ``MovingAverage``.

    Method: the least Kullback-Leibler divergence, Migacz, "8-bit Inference with TensorRT", 2017,
    https://www.cse.iitd.ac.in/~rijurekha/course/tensorrt.pdf.
    """

    def observe(self, values: Any, bits: int, symmetric: bool) -> Any:
        """Return the range that a batch asks for; see ``MovingAverage.observe``."""
        counts, edges = histogram(values, observed_range(values))
        return least_divergence_range(counts, edges, bits, symmetric)


OBSERVERS = {
    "moving_average": MovingAverage,
    "min_max": MinMax,
    "percentile": Percentile,
    "mse": LeastError,
    "kl": LeastDivergence,
}


def follows_extremes(observer: MovingAverage) -> bool:
    """Tell whether an observer asks for the extremes of a batch, as ``observed_range`` does."""
    return type(observer).observe is MovingAverage.observe


def keeps_within(observer: MovingAverage) -> bool:
    """Tell whether ranges stay within the extremes of all batches: one of the user's may widen."""
    return type(observer) in OBSERVERS.values()


def get_observer(identifier) -> MovingAverage:
    """Return the observer that a name means, or the observer itself."""
    if isinstance(identifier, MovingAverage):
        return identifier
    if identifier not in OBSERVERS:
        raise ValueError(
            f"`observer` must be one of {list(OBSERVERS)} or an observer. "
            f"Received: observer={identifier!r}"
        )
    return OBSERVERS[identifier]()
