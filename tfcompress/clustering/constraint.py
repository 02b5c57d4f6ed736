"""The constraint that keeps the weights of a kernel at few shared values while it trains."""

import keras
import numpy as np
from keras import ops

from tfcompress.backends import variable_scope
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
from tfcompress.compat.keras_attributes import remove_untracked, set_untracked
from tfcompress.compat.keras_saving import SaveableState
from tfcompress.compat.keras_steps import assign_in_step, carry_state
from tfcompress.keras_graph.acceleration import accelerate
from tfcompress.keras_graph.kernels import Kernel, find_kernels
from tfcompress.keras_graph.wrapper import ModelWrapper, unwrap


@keras.saving.register_keras_serializable(package="tfcompress")
class ClusterConstraint(keras.constraints.Constraint):
    """Keep each weight at one of a few values, which the gradients move.

    Keras optimizers apply the constraint of a variable after each update, inside the compiled
    step. Each value moves by the mean update of the weights that share it. The constraint remembers
    where a weight would be by itself, so that it can change to a value that has become nearer. If
    zero is one of the values, weights that are zero by themselves are pruned: they and their value
    stay at zero.

    Args:
        shape: shape of the kernel.
        centroids: float array (groups, clusters), ascending in each group. The kernel's last axis
            is split into the groups: with as many groups as output channels, each channel has its
            own values.
        values: float array of the kernel's shape: the weights.
        constraint: the constraint to apply first; or None.
        mobility: how far a weight follows its own updates, from 0 to 1; see ``cluster_weights``.

    Attributes:
        centroids: variable (groups, clusters).
        constraint: as given.

    Example:
    >>> constraint = ClusterConstraint((3,), np.array([[0.0, 1.0]]), np.array([0.1, 0.8, 0.9]))
    >>> ops.convert_to_numpy(constraint.clustered())
    array([0., 1., 1.], dtype=float32)
    """

    def __init__(self, shape, centroids, values, constraint=None, mobility=1.0):
        self._shape = tuple(shape)
        centroids = np.asarray(centroids, np.float32)
        latent = group(np.asarray(values, np.float32), len(centroids))
        members = nearest_members(*map(ops.convert_to_tensor, (latent, centroids)))
        members = ops.convert_to_numpy(members)
        self.constraint = keras.constraints.get(constraint)
        self._mobility = mobility
        self.centroids = _variable(centroids, "centroids")
        self._latent = _variable(latent, "latent")
        self._members = _variable(members, "members")

    def __call__(self, w):
        """Return the weights at their shared values, moved by the update."""
        if self.constraint is not None:
            w = self.constraint(w)
        w = ops.convert_to_tensor(w)
        groups = self.centroids.shape[0]
        centroids = ops.convert_to_tensor(self.centroids)
        latent = ops.convert_to_tensor(self._latent)
        members = ops.convert_to_tensor(self._members)
        pruned = pruned_weights(latent, centroids)
        update = group(ops.cast(w, "float32"), groups) - values_of(members, centroids)
        update = ops.where(pruned, 0.0, update)
        held = held_values(centroids, pruned)
        moved = centroids + ops.where(held, 0.0, means_of(update, members, centroids))
        moved = ops.sort(moved, axis=1)
        latent = latent + self._mobility * update
        members = nearest_members(latent, moved)
        changes = zip(self.state.values(), (moved, latent, members), strict=True)
        for variable, value in changes:
            assign_in_step(variable, value)
        return ops.cast(ungroup(shared_values(latent, moved, members), self._shape), w.dtype)

    def clustered(self):
        """Return the weights at their present values: a float32 tensor of the kernel's shape."""
        latent, centroids, members = (
            ops.convert_to_tensor(v) for v in (self._latent, self.centroids, self._members)
        )
        return ungroup(shared_values(latent, centroids, members), self._shape)

    @property
    def state(self) -> dict[str, keras.Variable]:
        """The variables that the next step depends on, by name."""
        return {"centroids": self.centroids, "latent": self._latent, "members": self._members}

    def get_config(self):
        """Return the constructor arguments."""
        return {
            "shape": list(self._shape),
            "centroids": ops.convert_to_numpy(self.centroids).tolist(),
            "values": ops.convert_to_numpy(ungroup(self._latent.value, self._shape)).tolist(),
            "constraint": keras.constraints.serialize(self.constraint) if self.constraint else None,
            "mobility": self._mobility,
        }


def _variable(value, name):
    """Return a variable for part of a constraint's state."""
    return keras.Variable(
        lambda shape, dtype: ops.convert_to_tensor(value, dtype),
        shape=value.shape,
        dtype=str(value.dtype),
        trainable=False,
        aggregation="only_first_replica",  # replicas see the same updates
        name=name,
    )


class SavedClusters(SaveableState):
    """The state of one constraint in the files of its model, to resume a training exactly.

    Keras saves what it finds among the attributes of layers; this object is an attribute of a
    clustered layer. It adds nothing to the model's weights, and a model that is not clustered can
    load the same file.
    """

    def __init__(self, path: str, constraint: ClusterConstraint):
        self._path = path
        self._constraint = constraint

    def save_own_variables(self, store):
        """Write the state; called by Keras."""
        for name, variable in self._constraint.state.items():
            store[name] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store):
        """Read the state; called by Keras."""
        state = self._constraint.state
        found = {name: np.asarray(store[name]) for name in store.keys()}  # noqa: SIM118
        shapes = {name: tuple(value.shape) for name, value in found.items()}
        expected = {name: tuple(variable.shape) for name, variable in state.items()}
        if shapes != expected:
            raise ValueError(
                f"The file does not hold the clusters of {self._path!r}, which has "
                f"{expected['centroids'][1]} values in each of {expected['centroids'][0]} groups. "
                "Load it before `cluster_weights`, or cluster the model as the saved one was. "
                f"Received: {shapes or 'no clusters'}"
            )
        for name, variable in state.items():
            variable.assign(found[name])


def constrain(
    model: keras.Model,
    kernels: list[Kernel],
    centroids: list[np.ndarray],
    mobility: float = 1.0,
) -> None:
    """Move the weights of kernels to shared values, and make the optimizer keep them there.

    ``centroids`` holds a float array (groups, clusters), ascending in each group, per kernel.
    """
    carry_state(unwrap(model))
    with variable_scope(unwrap(model)):
        for kernel, start in zip(kernels, centroids, strict=True):
            variable = kernel.variable
            values = ops.convert_to_numpy(variable)
            constraint = ClusterConstraint(
                variable.shape, start, values, variable.constraint, mobility
            )
            variable.assign(constraint.clustered())
            variable.constraint = constraint
            set_untracked(kernel.layer, _attribute(kernel), SavedClusters(kernel.path, constraint))
    _discard_traces(model)
    accelerate(model)


def release_clusters(model: keras.Model) -> keras.Model:
    """Remove the constraints of ``cluster_weights``; the weights keep their values.

    Args:
        model: a clustered model, or a wrapper of one.

    Returns:
        The same model.

    Example:
    >>> model = tfc.cluster_weights(tfc.release_clusters(model), 8)
    """
    for kernel in find_kernels(model):
        if isinstance(kernel.variable.constraint, ClusterConstraint):
            kernel.variable.constraint = kernel.variable.constraint.constraint
            remove_untracked(kernel.layer, _attribute(kernel))
    _discard_traces(model)
    return model


def _attribute(kernel):
    """Return the name under which a layer holds the saved state of a kernel."""
    return f"_{kernel.variable.name}_clusters"


def _discard_traces(model):
    """Discard compiled training steps: they contain other constraints."""
    model.train_function = None
    while isinstance(model, ModelWrapper):
        model = model.model
        model.train_function = None
