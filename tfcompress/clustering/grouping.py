"""Splitting a kernel into groups of output channels, each with shared values of its own."""

import numpy as np
import tensorflow as tf

# Comparing with each border is quicker than searching among them, being done on all cores, for many
# weights and few borders; it takes an operation for each of these.
_MANY_WEIGHTS, _FEW_CENTROIDS = 2**14, 64


def group(weights, groups: int):
    """Split a kernel into groups of output channels.

    Args:
        weights: array or tensor, output channels last.
        groups: 1 for the whole kernel, or a divisor of the number of output channels.

    Returns:
        The same kind, (groups, weights of each).

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
    """Return the place of the nearest centroid of each weight.

    Args:
        weights: float tensor (groups, weights of each).
        centroids: float tensor (groups, clusters), ascending in each group.

    Returns:
        int32 tensor of the shape of ``weights``.

    Example:
    >>> nearest_members(tf.constant([[0.1, 0.9]]), tf.constant([[0.0, 1.0]])).numpy()
    array([[0, 1]], dtype=int32)
    """
    borders = (centroids[:, 1:] + centroids[:, :-1]) / 2.0
    if centroids.shape[1] > _FEW_CENTROIDS or weights.shape.num_elements() < _MANY_WEIGHTS:
        return tf.searchsorted(borders, weights)
    members = tf.zeros_like(weights, tf.int8)
    for border in tf.unstack(borders[:, :, None], axis=1):
        members += tf.cast(weights > border, tf.int8)
    return tf.cast(members, tf.int32)


def values_of(members, centroids):
    """Return the centroid of each weight.

    Args:
        members: int32 tensor (groups, weights of each), places of centroids in their groups.
        centroids: float tensor (groups, clusters).

    Returns:
        float tensor of the shape of ``members``.
    """
    return tf.gather(tf.reshape(centroids, [-1]), _places(members, centroids))


def means_of(numbers, members, centroids):
    """Return the mean of the numbers that belong to each centroid, 0 where there are none.

    Args:
        numbers: float tensor (groups, weights of each).
        members: int32 tensor of the shape of ``numbers``, places of centroids.
        centroids: float tensor (groups, clusters).

    Returns:
        float tensor of the shape of ``centroids``.
    """
    groups, clusters = centroids.shape
    if tf.config.list_logical_devices("GPU"):  # where bins are not summed up in the same order
        segments = tf.reshape(_places(members, centroids), [-1])
        means = tf.math.unsorted_segment_mean(
            tf.reshape(numbers, [-1]), segments, groups * clusters
        )
        return tf.reshape(means, centroids.shape)
    # The cores of a processor would share segments, and read all the numbers for each of them.
    sums, counts = (
        tf.raw_ops.DenseBincount(input=members, size=clusters, weights=weights)
        for weights in (numbers, tf.zeros([0], numbers.dtype))
    )
    return tf.math.divide_no_nan(sums, counts)


def _places(members, centroids):
    """Return the places of members among the centroids of all groups, one group after another."""
    groups, clusters = centroids.shape
    return members + clusters * tf.range(groups)[:, None] if groups > 1 else members


def pruned_weights(weights, centroids):
    """Tell which weights pruning has set to zero: those of a group that has zero among its values.

    Elsewhere a weight that happens to be zero is one like the others.

    Args:
        weights: float tensor (groups, weights of each).
        centroids: float tensor (groups, clusters).

    Returns:
        bool tensor of the shape of ``weights``.
    """
    return (weights == 0.0) & tf.reduce_any(centroids == 0.0, axis=1, keepdims=True)


def held_values(centroids, pruned):
    """Tell which values stay at zero: those that pruned weights have.

    Args:
        centroids: float tensor (groups, clusters).
        pruned: from ``pruned_weights``.

    Returns:
        bool tensor of the shape of ``centroids``.
    """
    return (centroids == 0.0) & tf.reduce_any(pruned, axis=1, keepdims=True)


def shared_values(weights, centroids, members):
    """Return each weight's shared value; pruned weights stay at zero.

    Args:
        weights: float tensor (groups, weights of each): what the weights are by themselves.
        centroids: float tensor (groups, clusters).
        members: int32 tensor of the shape of ``weights``, places of centroids.

    Returns:
        float tensor of the shape of ``weights``.
    """
    shared = values_of(members, centroids)
    return tf.where(pruned_weights(weights, centroids), 0.0, shared)
