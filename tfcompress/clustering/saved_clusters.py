"""What a training with clusters needs to go on exactly, in the files that Keras saves.

Keras saves what it finds by walking over the attributes of layers. A small saveable object stands
among those of a clustered layer. It adds nothing to the model's weights, and a model that is not
clustered reads the same file.
"""

import keras
import numpy as np

from tfcompress.clustering.constraint import ClusterConstraint
from tfcompress.compat.keras_attributes import remove_untracked, set_untracked
from tfcompress.compat.keras_saving import SaveableState
from tfcompress.keras_graph.kernels import Kernel


class SavedClusters(SaveableState):
    """The entry of one clustered kernel in the files of its model.

    Args:
        path: the kernel's path, for errors.
        constraint: the kernel's constraint.
    """

    def __init__(self, path: str, constraint: ClusterConstraint):
        self._path = path
        self._constraint = constraint

    def save_own_variables(self, store):
        """Write the values and what each weight is by itself; called by Keras."""
        for name, variable in self._constraint.state.items():
            store[name] = keras.ops.convert_to_numpy(variable)

    def load_own_variables(self, store):
        """Take them up again; called by Keras.

        Raises:
            ValueError: the file holds no clusters of this kernel, or others than this model has.
        """
        state = self._constraint.state
        found = {name: np.asarray(store[name]) for name in store.keys()}  # noqa: SIM118
        shapes = {name: tuple(value.shape) for name, value in found.items()}
        expected = {name: tuple(variable.shape) for name, variable in state.items()}
        if shapes != expected:
            raise ValueError(
                f"The file holds other weights of {self._path!r} than clustered ones with "
                f"{expected['centroids'][1]} values in each of {expected['centroids'][0]} groups. "
                "Load it before `cluster_weights`, or cluster the model as the saved one was. "
                f"Received: {shapes or 'no clusters'}"
            )
        for name, variable in state.items():
            variable.assign(found[name])


def attach(kernel: Kernel, constraint: ClusterConstraint) -> None:
    """Let what is saved of a layer hold the clusters of one of its kernels."""
    set_untracked(kernel.layer, _attribute(kernel), SavedClusters(kernel.path, constraint))


def detach(kernel: Kernel) -> None:
    """Undo ``attach``."""
    remove_untracked(kernel.layer, _attribute(kernel))


def _attribute(kernel):
    return f"_{kernel.variable.name}_clusters"
