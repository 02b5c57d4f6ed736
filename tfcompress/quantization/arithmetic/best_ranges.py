"""Ranges that serve a distribution of values best: narrower ones have finer steps and clip more."""

from collections.abc import Callable

import tensorflow as tf

from tfcompress.quantization.arithmetic.fake_quantization import grid_levels

_CANDIDATES = 64  # ranges that are tried
_ALMOST_NOTHING = 1e-6  # of the values: what a level without any counts as


def least_error_range(counts, edges, bits, symmetric):
    """Find the range whose grid is nearest to the values, in the mean of squares.

    A narrower range has finer steps and clips more. For each end in turn, 64 places from zero to
    the outermost value are tried, or for both at once if the grid is symmetric.

    Args:
        counts: float32 tensor (bins,), see ``histogram``.
        edges: float32 tensor (bins + 1,), the first at most 0 and the last at least 0.
        bits: bits of the grid.
        symmetric: whether the grid is symmetric around zero.

    Returns:
        float32 tensor (2,).
    """
    centres = (edges[:-1] + edges[1:]) / 2.0

    def errors(smallest, largest):
        lowest, highest, step = grid_levels(smallest, largest, bits, symmetric)
        lowest, highest, step = lowest[:, None], highest[:, None], step[:, None]
        rounded = step * tf.clip_by_value(tf.round(centres / step), lowest, highest)
        return tf.reduce_sum(counts * tf.square(rounded - centres), axis=1)

    return _best_ends(edges, symmetric, errors)


def least_divergence_range(counts, edges, bits, symmetric):
    """Find the range whose levels keep most of what the distribution of the values says.

    Values outside count at the ends of the range, but no level stands for them: so much is lost by
    clipping. Inside, the values of a level are as good as spread evenly over its bins: so much is
    lost by steps that are too long. Both are the Kullback-Leibler divergence from one distribution
    to the other. Zeros are left out: every grid holds them. Ranges are tried as in
    ``least_error_range``.

    Args:
        counts: see ``least_error_range``.
        edges: likewise.
        bits: likewise.
        symmetric: likewise.

    Returns:
        float32 tensor (2,).

    Method: Migacz, "8-bit Inference with TensorRT", 2017,
    https://www.cse.iitd.ac.in/~rijurekha/course/tensorrt.pdf.
    """
    centres = (edges[:-1] + edges[1:]) / 2.0
    bins = tf.size(counts)
    counts = tf.where((edges[:-1] <= 0) & (edges[1:] > 0), 0.0, counts)

    def divergence(ends):
        lowest, highest, step = grid_levels(ends[0], ends[1], bits, symmetric)
        levels = tf.round(centres / step)
        inside = (levels >= lowest) & (levels <= highest)
        places = tf.cast(tf.clip_by_value(levels, lowest, highest) - lowest, tf.int32)
        kept = tf.where(inside, counts, 0.0)
        of_level = tf.math.unsorted_segment_sum(kept, places, 2**bits)
        filled = tf.cast(kept > 0, tf.float32)
        bins_of_level = tf.math.unsorted_segment_sum(filled, places, 2**bits)
        spread = filled * tf.gather(tf.math.divide_no_nan(of_level, bins_of_level), places)
        # What lies outside is counted in the outermost bins inside.
        inner = tf.where(inside)[:, 0]
        clipped = tf.clip_by_value(tf.range(bins, dtype=inner.dtype), inner[0], inner[-1])
        whole = tf.math.unsorted_segment_sum(counts, clipped, bins)
        return _divergence(whole, spread)

    def divergences(smallest, largest):
        return tf.map_fn(divergence, tf.stack([smallest, largest], 1))

    return _best_ends(edges, symmetric, divergences)


def _divergence(first, second):
    """Return the Kullback-Leibler divergence of two histograms from each other."""
    first = tf.math.divide_no_nan(first, tf.reduce_sum(first))
    second = tf.math.divide_no_nan(second, tf.reduce_sum(second))
    ratio = first / tf.maximum(second, _ALMOST_NOTHING)
    return tf.reduce_sum(tf.where(first > 0, first * tf.math.log(tf.maximum(ratio, 1e-30)), 0.0))


def _best_ends(edges, symmetric: bool, costs: Callable):
    """Return the best of the ranges that are tried.

    Args:
        edges: see ``least_error_range``.
        symmetric: likewise.
        costs: takes float32 tensors (candidates,) of beginnings and ends, returns one of costs.

    Returns:
        float32 tensor (2,).
    """
    shares = tf.range(1, _CANDIDATES + 1, dtype=tf.float32) / _CANDIDATES

    def best(smallest, largest):
        return tf.argmin(costs(smallest, largest))

    ends = [shares * edges[0], shares * edges[-1]]
    if symmetric:
        place = best(*ends)
        return tf.stack([ends[0][place], ends[1][place]])
    smallest = edges[0] * tf.ones_like(shares)
    largest = ends[1][best(smallest, ends[1])] * tf.ones_like(shares)
    smallest = ends[0][best(ends[0], largest)] * tf.ones_like(shares)
    largest = ends[1][best(smallest, ends[1])]  # the first end may have been an outlier
    return tf.stack([smallest[0], largest])
