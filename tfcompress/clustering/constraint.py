"""The constraint that keeps the weights of a kernel at few shared values while it trains."""

import keras
import numpy as np
import tensorflow as tf

from tfcompress.clustering.grouping import (
    group,
    held_values,
    means_of,
    nearest_members,
    pruned_weights,
    shared_values,
    ungroup,
    values_of,
)


@keras.saving.register_keras_serializable(package="tfcompress")
class ClusterConstraint(keras.constraints.Constraint):
    """Keep each weight at one of a few values, and let the gradients move these values.

    Keras optimizers apply the constraint of a variable after each update, inside the compiled
    step. Each value moves by the mean update of the weights that share it. What a weight would be
    by itself is remembered, so that it can change over to a value that has come nearer. Where zero
    is one of the values, weights that are zero by themselves are pruned ones: they stay at zero,
    and so does the value that they share.

    Args:
        shape: shape of the kernel.
        centroids: float array (groups, clusters), ascending in each group. The kernel's last axis
            is split into the groups: with ``groups`` the number of output channels, each has its
            own values.
        values: float array of the kernel's shape: the weights.
        constraint: the constraint that the variable had before, applied first; or None.
        mobility: how much of its own updates a weight follows, from 0 to 1; see
            ``cluster_weights``.

    Attributes:
        centroids: variable (groups, clusters).
        constraint: as given.

    Example:
    >>> constraint = ClusterConstraint((3,), np.array([[0.0, 1.0]]), np.array([0.1, 0.8, 0.9]))
    >>> constraint.clustered().numpy()
    array([0., 1., 1.], dtype=float32)
    """

    def __init__(self, shape, centroids, values, constraint=None, mobility=1.0):
        self._shape = tuple(shape)
        centroids = np.asarray(centroids, np.float32)
        latent = group(np.asarray(values, np.float32), len(centroids))
        members = nearest_members(tf.constant(latent), tf.constant(centroids)).numpy()
        self.constraint = keras.constraints.get(constraint)
        self._mobility = mobility
        self.centroids = _variable(centroids, "centroids")
        self._latent = _variable(latent, "latent")
        self._members = _variable(members, "members")

    def __call__(self, w):
        """Return the weights at their shared values, which have followed the update."""
        if self.constraint is not None:
            w = self.constraint(w)
        w = tf.convert_to_tensor(w)
        groups = self.centroids.shape[0]
        centroids = tf.convert_to_tensor(self.centroids)
        latent = tf.convert_to_tensor(self._latent)
        members = tf.convert_to_tensor(self._members)
        pruned = pruned_weights(latent, centroids)
        update = group(tf.cast(w, tf.float32), groups) - values_of(members, centroids)
        update = tf.where(pruned, 0.0, update)
        held = held_values(centroids, pruned)
        moved = centroids + tf.where(held, 0.0, means_of(update, members, centroids))
        moved = tf.sort(moved, axis=1)
        latent += self._mobility * update
        members = nearest_members(latent, moved)
        self.centroids.assign(moved)
        self._latent.assign(latent)
        self._members.assign(members)
        return tf.cast(ungroup(shared_values(latent, moved, members), self._shape), w.dtype)

    def clustered(self):
        """Return the weights at their present values: a float32 tensor of the kernel's shape."""
        latent, centroids, members = (
            tf.convert_to_tensor(v) for v in (self._latent, self.centroids, self._members)
        )
        return ungroup(shared_values(latent, centroids, members), self._shape)

    @property
    def state(self) -> dict[str, keras.Variable]:
        """What the next step depends on, by name."""
        return {"centroids": self.centroids, "latent": self._latent, "members": self._members}

    def get_config(self):
        """Return what rebuilds the constraint."""
        return {
            "shape": list(self._shape),
            "centroids": keras.ops.convert_to_numpy(self.centroids).tolist(),
            "values": ungroup(tf.convert_to_tensor(self._latent), self._shape).numpy().tolist(),
            "constraint": keras.constraints.serialize(self.constraint) if self.constraint else None,
            "mobility": self._mobility,
        }


def _variable(value, name):
    return keras.Variable(
        lambda shape, dtype: keras.ops.convert_to_tensor(value, dtype),
        shape=value.shape,
        dtype=str(value.dtype),
        trainable=False,
        aggregation="only_first_replica",  # replicas see the same updates
        name=name,
    )
