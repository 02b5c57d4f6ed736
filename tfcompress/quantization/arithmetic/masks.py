"""Ranges of scores with masks: numbers so low that a range that held them would hold little else.

A mask is replaced by a number that masks just as well. Before a softmax, or an exponential, that
lies 8 below the smallest score that counts: its weight is exp(-8) of that one's, far less than a
step. A mask that is yet to be added to scores has to lie below by more than these differ.
"""

import math

import keras
import numpy as np
from keras import ops

MASKED = -1e6  # below it there may be masks, wherever they are
_FAR = 256  # masks are so many times as large as what they stand among: more than a step of 8 bits
_FAR_ALONE = -1e8  # numbers that stand alone are masks below it
BELOW_SCORES = 8.0
BELOW_SUMMANDS = 32.0
ADDED_MASK = -1024.0  # in the place of a mask that is added beside zeros alone

# Octaves of the distance from the largest value: all in reach of a softmax are one, and those that
# nothing is told apart in.
_FIRST_OCTAVE, _LAST_OCTAVE = 3, 40
NEAR = 2.0**_FIRST_OCTAVE  # scores that differ by no more have no masks among them


def are_masks(values):
    """Tell which values are masks: far below all others, in steps of a range that held them.

    Example:
    >>> are_masks(np.float32([3.0, -1e9, -2.0])).numpy().tolist()
    [False, True, False]
    >>> are_masks(np.float32([3e6, -2e6, -2.0])).numpy().tolist()
    [False, False, False]
    """
    values = ops.convert_to_tensor(values)
    below = values < MASKED
    largest = ops.max(ops.where(below, 0.0, ops.abs(values)))
    highest = ops.max(ops.where(below, values, -_largest(values)))
    is_far = ops.where(ops.all(below), highest < _FAR_ALONE, largest * _FAR < -highest)
    return ops.logical_and(below, is_far)


def least_that_counts(values, margin: float):
    """Return the smallest value; where there are masks, less than the others by a margin."""
    values = ops.convert_to_tensor(values)
    masks = are_masks(values)
    floor = _floor(values, ops.logical_not(masks), margin)
    return ops.where(ops.any(masks), floor, ops.min(values))


def floor_of_scores(values, margin: float):
    """Return the number that the masks among scores are replaced by.

    Scores are masked by a number that is much further from the largest than the others are: at
    least twice as far, and 32.

    Example:
    >>> float(floor_of_scores(tf.constant([1.0, -3.0, -99.0, -10003.0]), BELOW_SCORES))
    -11.0
    """
    values = ops.convert_to_tensor(values)
    distance = ops.max(values) - values
    octaves = ops.log(ops.maximum(distance, 1.0)) / math.log(2.0)
    octaves = ops.clip(octaves, float(_FIRST_OCTAVE), float(_LAST_OCTAVE))
    places = ops.reshape(ops.cast(octaves, "int32") - _FIRST_OCTAVE, [-1])
    bins = _LAST_OCTAVE - _FIRST_OCTAVE + 1
    is_empty = ops.equal(ops.segment_sum(ops.ones_like(places), places, bins), 0)
    first = ops.argmax(ops.pad(ops.cast(is_empty, "int32"), [[0, 1]], constant_values=1))
    counts = ops.reshape(places < ops.cast(first, "int32"), ops.shape(values))
    floor = _floor(values, counts, margin)
    return ops.where(ops.all(counts), -_largest(values), floor)


def without_masks(values, margin: float):
    """Replace the masks among scores by numbers that mask just as well."""
    values = ops.cast(ops.stop_gradient(values), "float32")
    return ops.maximum(values, floor_of_scores(values, margin))


def _floor(values, counts, margin):
    """Return a number below the values that count."""
    counting = ops.where(counts, values, 0.0)
    are_zeros = ops.all(ops.equal(counting, 0.0))
    smallest = ops.min(ops.where(counts, values, _largest(values)))
    return ops.where(are_zeros, ADDED_MASK, smallest - margin)


def _largest(values):
    """Return the largest number that the type of a tensor holds."""
    return float(np.finfo(keras.backend.standardize_dtype(values.dtype)).max)
