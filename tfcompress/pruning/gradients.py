"""Sums over training steps of what a criterion makes of the gradients."""

import keras
import numpy as np
from keras import ops

from tfcompress.compat.keras_training import (
    innermost_optimizer,
    unwatch_updates,
    variable_key,
    watch_updates,
)
from tfcompress.keras_graph.kernels import Kernel
from tfcompress.pruning.criteria import Criterion


class GradientSums:
    """Variables that add up ``criterion.contribution`` inside the compiled step.

    Keras optimizers hand each gradient, when it is final, to their ``update_step``: summed over
    replicas, unscaled, averaged over accumulation steps, clipped. While attached, an instance
    attribute stands before that method, adds the contribution and passes everything on. It takes
    effect when the training step is traced.

    Args:
        model: the model, for its distribution strategy.
        kernels: the kernels to watch.
        criterion: one that uses gradients.
    """

    def __init__(self, model: keras.Model, kernels: list[Kernel], criterion: Criterion):
        self._strategy = model.distribute_strategy
        self._kernels = kernels
        self._criterion = criterion
        self._optimizer = None
        with self._strategy.scope():
            self._sums = [
                keras.Variable(
                    initializer="zeros",
                    shape=kernel.variable.shape,
                    dtype="float32",
                    trainable=False,
                    name="gradient_sum",
                )
                for kernel in kernels
            ]

    def attach(self, optimizer: keras.Optimizer) -> None:
        """Watch the gradients of an optimizer, from the next tracing of the step on."""
        # Loss scaling hands unscaled gradients to the optimizer inside, and skips bad ones.
        self._optimizer = optimizer = innermost_optimizer(optimizer)
        sums = {
            variable_key(optimizer, kernel.variable): total
            for kernel, total in zip(self._kernels, self._sums, strict=True)
        }

        def add(gradient, variable):
            total = sums.get(variable_key(optimizer, variable))
            if total is not None:
                # An embedding's gradient is sparse: converting makes it dense.
                added = self._criterion.contribution(
                    ops.cast(ops.convert_to_tensor(gradient), "float32"),
                    ops.cast(ops.convert_to_tensor(variable), "float32"),
                )
                optimizer.assign_add(total, added)

        watch_updates(optimizer, add)

    def detach(self) -> None:
        """Leave the optimizer as it was; steps traced before still add up."""
        if self._optimizer is not None:
            unwatch_updates(self._optimizer)
            self._optimizer = None

    def read(self) -> list[np.ndarray]:
        """Return the sums, one array for each kernel."""
        return [ops.convert_to_numpy(total) for total in self._sums]

    def write(self, values: list[np.ndarray]) -> None:
        """Set the sums."""
        with self._strategy.scope():
            for total, value in zip(self._sums, values, strict=True):
                total.assign(value)

    def reset(self) -> None:
        """Start anew from zero."""
        self.write([np.zeros(total.shape, np.float32) for total in self._sums])
