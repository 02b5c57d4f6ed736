"""Ranges of linear layers on sample data, and the sensitivity of the outputs to noise in them."""

import dataclasses
from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfcompress.keras_graph.interception import float32_computation, intercepted_calls
from tfcompress.keras_graph.linear_layers import LinearLayer


@dataclasses.dataclass
class Observation:
    """Ranges and sensitivities of a linear layer.

    The sensitivity to a value is the noise at the outputs of the model, summed over examples and
    outputs, for noise of variance 1 in that value.
    """

    smallest: np.ndarray  # float array (inputs,): minimum of each input channel, at most 0
    largest: np.ndarray  # float array (inputs,): maximum, at least 0
    peak: np.ndarray  # float array (outputs,): the largest output of each channel
    input_sensitivity: np.ndarray  # float array (inputs,)
    kernel_sensitivity: np.ndarray  # float array of the kernel's shape

    @classmethod
    def empty(cls, linear: LinearLayer) -> "Observation":
        """Return the observation of no data."""
        inputs, outputs = np.zeros(linear.inputs), np.full(linear.outputs, -np.inf)
        return cls(inputs, inputs, outputs, inputs, np.zeros(linear.kernel.shape))

    def add(self, inputs, outputs, gradient) -> None:
        """Add one call of the layer, and the gradient of the outputs to its input, if any."""
        axes = tuple(range(len(inputs.shape) - 1))
        self.smallest = np.minimum(self.smallest, tf.reduce_min(inputs, axes))
        self.largest = np.maximum(self.largest, tf.reduce_max(inputs, axes))
        self.peak = np.maximum(self.peak, tf.reduce_max(outputs, range(len(outputs.shape) - 1)))
        if gradient is not None:
            squares = tf.reduce_sum(tf.square(gradient), axes)
            self.input_sensitivity = self.input_sensitivity + squares.numpy()


def observe(
    model: keras.Model, linears: Sequence[LinearLayer], batches: Iterable, seed: int = 0
) -> dict[str, Observation]:
    """Run a model forward and backward on batches; return the observations by path.

    The squared gradient of the outputs times random signs has the expectation of the summed squared
    gradients of every output of every example, so that one backward pass is enough.

    Method: the random signs are Hutchinson's, "A stochastic estimator of the trace of the influence
    matrix", 1990; small noise adds up as in Dong et al., "HAWQ-V2", 2019,
    https://arxiv.org/abs/1911.03852.
    """
    by_layer = {id(linear.layer): linear for linear in linears}
    observations = {linear.path: Observation.empty(linear) for linear in linears}
    generator = np.random.default_rng(seed)

    def wrap(layer, call):
        linear = by_layer[id(layer)]

        def run(inputs, *args, **kwargs):
            x = tf.identity(inputs)
            tape.watch(x)
            outputs = call(x, *args, **kwargs)
            calls.append((linear, x, outputs))
            return outputs

        return run

    with float32_computation(model), intercepted_calls([x.layer for x in linears], wrap):
        for batch in batches:
            calls: list[tuple] = []
            with tf.GradientTape() as tape:
                for linear in linears:
                    tape.watch(linear.kernel.value)
                outputs = keras.tree.flatten(model(batch, training=False))
                signs = [generator.choice(np.float32([-1, 1]), size=x.shape) for x in outputs]
                total = tf.add_n(
                    [
                        tf.reduce_sum(sign * tf.cast(x, tf.float32))
                        for sign, x in zip(signs, outputs, strict=True)
                    ]
                )
            kernels = {linear.path: linear.kernel.value for linear in linears}
            by_kernel, by_input = tape.gradient(total, [kernels, [x for _, x, _ in calls]])
            for path, gradient in by_kernel.items():
                if gradient is not None:
                    known = observations[path]
                    known.kernel_sensitivity = known.kernel_sensitivity + np.square(gradient)
            for (linear, x, y), gradient in zip(calls, by_input, strict=True):
                observations[linear.path].add(x, y, gradient)
    return observations
