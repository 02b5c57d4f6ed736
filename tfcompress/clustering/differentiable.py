"""A model whose weights are soft mixtures of few values while it trains (DKM)."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from tfcompress.clustering.constraint import constrain
from tfcompress.clustering.grouping import group, nearest_members, shared_values, ungroup
from tfcompress.clustering.soft_kmeans import DifferentiableKMeans, soft_clusters
from tfcompress.compat.keras_training import without_autocast
from tfcompress.keras_graph.interception import VariableSwap
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.keras_graph.wrapper import ModelWrapper, take_model


@dataclasses.dataclass(frozen=True)
class SharedKernel:
    """The path of a clustered kernel, its groups of output channels, and the values of each."""

    path: str
    groups: int
    clusters: int


@keras.saving.register_keras_serializable(package="tfcompress")
class DifferentiableClusters(ModelWrapper):
    """A model whose weights mix values in training and take the nearest value otherwise.

    Made by ``cluster_weights``. It shares the variables of the model that it wraps and adds its
    own: the values of each kernel.
    """

    finished_by = "settle()"

    def __init__(
        self,
        model: keras.Model,
        kernels: Sequence[SharedKernel],
        method: DifferentiableKMeans,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(model, name=name, **kwargs)
        self.method = method
        self._shared = tuple(kernels)
        found = {kernel.path: kernel for kernel in find_kernels(model)}
        self._kernels = [found[shared.path] for shared in self._shared]
        self._centroids = [
            self.add_weight(
                shape=(shared.groups, shared.clusters),
                initializer="zeros",
                dtype="float32",
                trainable=False,
                autocast=False,
                aggregation="mean",
                name=shared.path.replace("/", "_") + "_centroids",
            )
            for shared in self._shared
        ]

    def set_centroids(self, centroids: Sequence[np.ndarray]) -> None:
        """Set the values: a float array (groups, clusters) per kernel, ascending in each group."""
        for variable, values in zip(self._centroids, centroids, strict=True):
            variable.assign(values)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Run the model on mixed weights in training, on the nearest values otherwise."""
        with without_autocast():  # the stored float32 weights, also under mixed precision
            values = self._mixed() if training else self._nearest()
            swaps = [
                (kernel.variable, ops.cast(tensor, kernel.variable.dtype))
                for kernel, tensor in zip(self._kernels, values, strict=True)
            ]
        masks = {} if mask is None else {"mask": mask}
        with VariableSwap(swaps):
            return self.model(inputs, training=training, **masks)

    def _grouped(self):
        """Yield each kernel, its weights in groups, and its values."""
        for kernel, centroids in zip(self._kernels, self._centroids, strict=True):
            weights = ops.cast(ops.convert_to_tensor(kernel.variable), "float32")
            yield kernel, group(weights, centroids.shape[0]), centroids

    def _mixed(self):
        """Return the kernels as mixtures of values, and update the values."""
        tensors = []
        for kernel, weights, centroids in self._grouped():
            mixed, moved = soft_clusters(
                weights,
                ops.convert_to_tensor(centroids),
                self.method.temperature,
                self.method.iterations,
            )
            centroids.assign(ops.stop_gradient(moved))
            tensors.append(ungroup(mixed, tuple(kernel.variable.shape)))
        return tensors

    def _nearest(self):
        """Return the kernels at their nearest values."""
        tensors = []
        for kernel, weights, centroids in self._grouped():
            values = ops.sort(ops.convert_to_tensor(centroids), axis=1)
            shared = shared_values(weights, values, nearest_members(weights, values))
            tensors.append(ungroup(shared, tuple(kernel.variable.shape)))
        return tensors

    def settle(self) -> keras.Model:
        """Return the wrapped model with its weights constrained to their nearest values.

        It is then clustered as by ``cluster_weights(method="nearest")``: it can be trained further,
        made quantization-aware, and exported.

        Returns:
            The model that was given to ``cluster_weights``; compile it again.
        """
        centroids = [np.sort(ops.convert_to_numpy(c), axis=1) for c in self._centroids]
        constrain(self.model, self._kernels, centroids)
        return self.model

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            "kernels": [dataclasses.asdict(shared) for shared in self._shared],
            "method": dataclasses.asdict(self.method),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Create the model from its config."""
        config = dict(config)
        return cls(
            take_model(config),
            [SharedKernel(**shared) for shared in config.pop("kernels")],
            DifferentiableKMeans(**config.pop("method")),
            **config,
        )
