"""The arithmetic of shared values: a kernel in groups of output channels with their own values.

Tensors of weights have the shape (groups, weights of each), those of values (groups, clusters),
ascending in each group; ``members`` are int32 indices of values, in the shape of the weights.
"""

import numpy as np
import tensorflow as tf

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
    xp = np if isinstance(weights, np.ndarray) else tf
    flat = xp.reshape(weights, (-1, groups, weights.shape[-1] // groups))
    return xp.reshape(xp.transpose(flat, (1, 0, 2)), (groups, -1))


def ungroup(grouped, shape: tuple[int, ...]):
    """Undo ``group``: return a tensor of a kernel's shape."""
    groups = grouped.shape[0]
    flat = tf.reshape(grouped, (groups, -1, shape[-1] // groups))
    return tf.reshape(tf.transpose(flat, (1, 0, 2)), shape)


def nearest_members(weights, centroids):
    """Return the index of the nearest centroid of each weight.

    Example:
    >>> nearest_members(tf.constant([[0.1, 0.9]]), tf.constant([[0.0, 1.0]])).numpy()
    array([[0, 1]], dtype=int32)
    """
    boundaries = (centroids[:, 1:] + centroids[:, :-1]) / 2.0
    if centroids.shape[1] > _FEW_CENTROIDS or weights.shape.num_elements() < _MANY_WEIGHTS:
        return tf.searchsorted(boundaries, weights)
    members = tf.zeros_like(weights, tf.int8)
    for boundary in tf.unstack(boundaries[:, :, None], axis=1):
        members += tf.cast(weights > boundary, tf.int8)
    return tf.cast(members, tf.int32)


def values_of(members, centroids):
    """Return the centroid of each weight."""
    return tf.gather(tf.reshape(centroids, [-1]), _flat_indices(members, centroids))


def means_of(numbers, members, centroids):
    """Return the mean of the numbers that belong to each centroid, 0 if there are none."""
    groups, clusters = centroids.shape
    if tf.config.list_logical_devices("GPU"):  # where bins are summed in no fixed order
        segments = tf.reshape(_flat_indices(members, centroids), [-1])
        means = tf.math.unsorted_segment_mean(
            tf.reshape(numbers, [-1]), segments, groups * clusters
        )
        return tf.reshape(means, centroids.shape)
    # On a CPU, segments make each core read all the numbers.
    sums, counts = (
        tf.raw_ops.DenseBincount(input=members, size=clusters, weights=weights)
        for weights in (numbers, tf.zeros([0], numbers.dtype))
    )
    return tf.math.divide_no_nan(sums, counts)


def _flat_indices(members, centroids):
    """Return the indices of members among the centroids of all groups."""
    groups, clusters = centroids.shape
    return members + clusters * tf.range(groups)[:, None] if groups > 1 else members


def pruned_weights(weights, centroids):
    """Mark the weights that pruning has set to zero: those of a group that has zero as a value.

    In other groups a weight that happens to be zero is like the others.
    """
    return (weights == 0.0) & tf.reduce_any(centroids == 0.0, axis=1, keepdims=True)


def held_values(centroids, pruned):
    """Mark the values that stay at zero: those of pruned weights."""
    return (centroids == 0.0) & tf.reduce_any(pruned, axis=1, keepdims=True)


def shared_values(weights, centroids, members):
    """Return each weight's shared value; pruned weights stay at zero."""
    shared = values_of(members, centroids)
    return tf.where(pruned_weights(weights, centroids), 0.0, shared)
