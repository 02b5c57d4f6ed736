"""Sums over training steps of what a criterion makes of the gradients."""

import keras
import numpy as np
from keras import ops

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
        while hasattr(optimizer, "inner_optimizer"):
            optimizer = optimizer.inner_optimizer
        self._optimizer = optimizer
        sums = {
            optimizer._var_key(kernel.variable): total
            for kernel, total in zip(self._kernels, self._sums, strict=True)
        }
        update_step = optimizer.update_step

        def watched_update_step(gradient, variable, learning_rate):
            total = sums.get(optimizer._var_key(variable))
            if total is not None:
                # An embedding's gradient is sparse: converting makes it dense.
                added = self._criterion.contribution(
                    ops.cast(ops.convert_to_tensor(gradient), "float32"),
                    ops.cast(ops.convert_to_tensor(variable), "float32"),
                )
                optimizer.assign_add(total, added)
            return update_step(gradient, variable, learning_rate)

        # Written to __dict__: the optimizer's own __setattr__ would try to track the value.
        optimizer.__dict__["update_step"] = watched_update_step

    def detach(self) -> None:
        """Leave the optimizer as it was; steps traced before still add up."""
        if self._optimizer is not None:
            self._optimizer.__dict__.pop("update_step", None)
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
