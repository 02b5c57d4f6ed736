"""Putting clusters on the kernels of a model, and taking them off."""

import keras
import numpy as np

from tfcompress.clustering import saved_clusters
from tfcompress.clustering.constraint import ClusterConstraint
from tfcompress.keras_graph.kernels import Kernel, find_kernels
from tfcompress.keras_graph.wrapper import ModelWrapper, unwrap


def constrain(
    model: keras.Model,
    kernels: list[Kernel],
    centroids: list[np.ndarray],
    mobility: float = 1.0,
) -> None:
    """Move the weights of kernels to shared values, and let the optimizer keep them there.

    Args:
        model: the model that is trained.
        kernels: kernels of it.
        centroids: for each a float array (groups, clusters), ascending in each group.
        mobility: see ``cluster_weights``.
    """
    with unwrap(model).distribute_strategy.scope():
        for kernel, start in zip(kernels, centroids, strict=True):
            variable = kernel.variable
            values = keras.ops.convert_to_numpy(variable)
            constraint = ClusterConstraint(
                variable.shape, start, values, variable.constraint, mobility
            )
            variable.assign(constraint.clustered())
            variable.constraint = constraint
            saved_clusters.attach(kernel, constraint)
    _trace_anew(model)


def release_clusters(model: keras.Model) -> keras.Model:
    """Take the constraints of ``cluster_weights`` off; the weights stay where they are.

    Args:
        model: a model that was clustered, or a wrapper of one.

    Returns:
        The same model.

    Example:
    >>> model = tfc.cluster_weights(tfc.release_clusters(model), 8)
    """
    for kernel in find_kernels(model):
        if isinstance(kernel.variable.constraint, ClusterConstraint):
            kernel.variable.constraint = kernel.variable.constraint.constraint
            saved_clusters.detach(kernel)
    _trace_anew(model)
    return model


def _trace_anew(model):
    """Drop training steps that were compiled before: they know other constraints."""
    model.train_function = None
    while isinstance(model, ModelWrapper):
        model = model.model
        model.train_function = None
