"""The arithmetic of shared values: a kernel in groups of output channels with their own values.

Tensors of weights have the shape (groups, weights of each), those of values (groups, clusters),
ascending in each group; ``members`` are int32 indices of values, in the shape of the weights.
"""

import math

import numpy as np
from keras import ops

from tfcompress.backends import bin_means, flat_indices, searched_rows

# Comparing with each boundary uses all cores and beats searching for many weights and few
# boundaries; it takes one operation per boundary.
_MANY_WEIGHTS, _FEW_CENTROIDS = 2**14, 64


def group(weights, groups: int):
    """Split an array or tensor, output channels last, into equal groups of output channels.

    Example:
    >>> group(np.array([[1.0, 2.0], [3.0, 4.0]]), 2)
    array([[1., 3.],
           [2., 4.]])
    """
    xp = np if isinstance(weights, np.ndarray) else ops
    flat = xp.reshape(weights, (-1, groups, weights.shape[-1] // groups))
    return xp.reshape(xp.transpose(flat, (1, 0, 2)), (groups, -1))


def ungroup(grouped, shape: tuple[int, ...]):
    """Undo ``group``: return a tensor of a kernel's shape."""
    groups = grouped.shape[0]
    flat = ops.reshape(grouped, (groups, -1, shape[-1] // groups))
    return ops.reshape(ops.transpose(flat, (1, 0, 2)), shape)


def nearest_members(weights, centroids):
    """Return the index of the nearest centroid of each weight.

    Example:
    >>> weights, centroids = ops.array([[0.1, 0.9]]), ops.array([[0.0, 1.0]])
    >>> ops.convert_to_numpy(nearest_members(weights, centroids))
    array([[0, 1]], dtype=int32)
    """
    boundaries = (centroids[:, 1:] + centroids[:, :-1]) / 2.0
    if centroids.shape[1] > _FEW_CENTROIDS or math.prod(weights.shape) < _MANY_WEIGHTS:
        return searched_rows(boundaries, weights)
    members = ops.zeros_like(weights, "int8")
    for place in range(boundaries.shape[1]):
        members += ops.cast(weights > boundaries[:, place : place + 1], "int8")
    return ops.cast(members, "int32")


def values_of(members, centroids):
    """Return the centroid of each weight."""
    return ops.take(ops.reshape(centroids, [-1]), flat_indices(members, centroids.shape[1]))


def means_of(numbers, members, centroids):
    """Return the mean of the numbers that belong to each centroid, 0 if there are none."""
    return bin_means(numbers, members, centroids.shape[1])


def pruned_weights(weights, centroids):
    """Mark the weights that pruning has set to zero: those of a group that has zero as a value.

    In other groups a weight that happens to be zero is like the others.
    """
    return (weights == 0.0) & ops.any(centroids == 0.0, axis=1, keepdims=True)


def held_values(centroids, pruned):
    """Mark the values that stay at zero: those of pruned weights."""
    return (centroids == 0.0) & ops.any(pruned, axis=1, keepdims=True)


def shared_values(weights, centroids, members):
    """Return each weight's shared value; pruned weights stay at zero."""
    shared = values_of(members, centroids)
    return ops.where(pruned_weights(weights, centroids), 0.0, shared)
