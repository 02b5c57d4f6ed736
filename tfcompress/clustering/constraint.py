"""The constraint that keeps the weights of a kernel at few shared values while it trains."""

import keras
import numpy as np
import tensorflow as tf

from tfcompress.clustering.centroids import nearest


@keras.saving.register_keras_serializable(package="tfcompress")
class ClusterConstraint(keras.constraints.Constraint):
    """Keep each weight at one of a few values, and let the gradients move these values.

    Keras optimizers apply the constraint of a variable after each update, inside the compiled
    step. Each value moves by the mean update of the weights that share it. What a weight would be
    by itself is remembered, so that it can change over to a value that has come nearer.

    Args:
        shape: shape of the kernel.
        centroids: float array (groups, clusters), ascending in each group. The kernel's last axes
            are split into the groups: with ``groups`` the number of output channels, each has its
            own values.
        values: float array of the kernel's shape: the weights.
        constraint: the constraint that the variable had before, applied first; or None.

    Attributes:
        centroids: variable (groups, clusters).

    Example:
    >>> constraint = ClusterConstraint((3,), np.array([[0.0, 1.0]]), np.array([0.1, 0.8, 0.9]))
    """

    def __init__(self, shape, centroids, values, constraint=None):
        self._shape = tuple(shape)
        centroids = np.asarray(centroids, np.float32)
        grouped = group(np.asarray(values, np.float32), len(centroids))
        self.constraint = keras.constraints.get(constraint)
        self.centroids = _variable(centroids, "centroids")
        self._latent = _variable(grouped, "latent")
        # Pruned weights stay pruned, and the value that they share stays at zero.
        self._zero = _variable(grouped == 0.0, "zeros") if (grouped == 0.0).any() else None
        members = np.stack([nearest(w, c) for w, c in zip(grouped, centroids, strict=True)])
        self._members = _variable(members.astype(np.int32), "members")

    def __call__(self, w):
        """Return the weights at their shared values, which have followed the update."""
        if self.constraint is not None:
            w = self.constraint(w)
        w = tf.convert_to_tensor(w)
        groups, clusters = self.centroids.shape
        centroids = tf.convert_to_tensor(self.centroids)
        members = tf.convert_to_tensor(self._members)
        places = members + clusters * tf.range(groups)[:, None]
        update = group(w, groups) - tf.gather(centroids, members, batch_dims=1)
        sums = tf.math.unsorted_segment_mean(
            tf.reshape(update, [-1]), tf.reshape(places, [-1]), groups * clusters
        )
        moved = centroids + tf.reshape(sums, centroids.shape)
        if self._zero is not None:
            moved = tf.where(centroids == 0.0, 0.0, moved)
        moved = tf.sort(moved, axis=1)
        latent = tf.convert_to_tensor(self._latent) + update
        members = tf.searchsorted((moved[:, 1:] + moved[:, :-1]) / 2.0, latent)
        self.centroids.assign(moved)
        self._latent.assign(latent)
        self._members.assign(members)
        return ungroup(self._shared(moved, members), self._shape)

    def clustered(self):
        """Return the weights at their present values: a tensor of the kernel's shape."""
        centroids = tf.convert_to_tensor(self.centroids)
        return ungroup(self._shared(centroids, tf.convert_to_tensor(self._members)), self._shape)

    def _shared(self, centroids, members):
        shared = tf.gather(centroids, members, batch_dims=1)
        if self._zero is not None:
            shared = tf.where(tf.convert_to_tensor(self._zero), 0.0, shared)
        return shared

    def get_config(self):
        """Return what rebuilds the constraint."""
        return {
            "shape": list(self._shape),
            "centroids": keras.ops.convert_to_numpy(self.centroids).tolist(),
            "values": keras.ops.convert_to_numpy(self.clustered()).tolist(),
            "constraint": keras.constraints.serialize(self.constraint) if self.constraint else None,
        }


def group(weights, groups: int):
    """Split a kernel into groups of output channels.

    Args:
        weights: array or tensor, output channels last.
        groups: 1 for the whole kernel, or a divisor of the number of output channels.

    Returns:
        The same kind, (groups, weights of each).
    """
    xp = np if isinstance(weights, np.ndarray) else tf
    flat = xp.reshape(weights, (-1, groups, weights.shape[-1] // groups))
    return xp.reshape(xp.transpose(flat, (1, 0, 2)), (groups, -1))


def ungroup(grouped, shape: tuple[int, ...]):
    """Undo ``group``: return a tensor of a kernel's shape."""
    groups = grouped.shape[0]
    flat = tf.reshape(grouped, (groups, -1, shape[-1] // groups))
    return tf.reshape(tf.transpose(flat, (1, 0, 2)), shape)


def _variable(value, name):
    return keras.Variable(
        lambda shape, dtype: keras.ops.convert_to_tensor(value, dtype),
        shape=value.shape,
        dtype=str(value.dtype),
        trainable=False,
        name=name,
    )
