"""What linear layers read and make on sample data, and how much the outputs heed them."""

import collections
import contextlib
import dataclasses
import zlib
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfcompress.keras_graph.interception import float32_computation, intercepted_calls
from tfcompress.post_training.linear import LinearLayer


@dataclasses.dataclass
class Observed:
    """What a linear layer has met.

    Attributes:
        smallest: float array (inputs,), of each input channel; at most 0.
        largest: float array (inputs,), at least 0.
        peak: float array (outputs,): the largest output of each channel.
        input_energy: float array (inputs,): how much noise at the outputs of the model a noise of
            variance 1 in each input channel makes, summed over examples and outputs.
        kernel_energy: float array of the kernel's shape: the same for noise in each weight.
    """

    smallest: np.ndarray
    largest: np.ndarray
    peak: np.ndarray
    input_energy: np.ndarray
    kernel_energy: np.ndarray

    @classmethod
    def nothing(cls, linear: LinearLayer) -> "Observed":
        """Return what is known before any data was seen."""
        inputs, outputs = np.zeros(linear.inputs), np.full(linear.outputs, -np.inf)
        return cls(inputs, inputs, outputs, inputs, np.zeros(linear.kernel.shape))


def observe(
    model: keras.Model, linears: Sequence[LinearLayer], batches: Iterable, seed: int = 0
) -> dict[str, Observed]:
    """Run a model on data, and back from its outputs to what its linear layers read.

    The gradient of the outputs times random signs has, squared, the expectation of the sum of the
    squared gradients of each output of each example: one pass back is enough for all of them.

    Args:
        model: the model.
        linears: the layers.
        batches: inputs.
        seed: of the signs.

    Returns:
        What was observed, by path.

    Method: the random signs are Hutchinson's, "A stochastic estimator of the trace of the influence
    matrix", 1990; noise that is small adds up as in Dong et al., "HAWQ-V2", 2019,
    https://arxiv.org/abs/1911.03852.
    """
    by_layer = {id(linear.layer): linear for linear in linears}
    seen = {linear.path: Observed.nothing(linear) for linear in linears}
    generator = np.random.default_rng(seed)

    def wrap(layer, call):
        linear = by_layer[id(layer)]

        def run(inputs, *args, **kwargs):
            x = tf.identity(inputs)
            tape.watch(x)
            outputs = call(x, *args, **kwargs)
            met.append((linear, x, outputs))
            return outputs

        return run

    with float32_computation(model), intercepted_calls([x.layer for x in linears], wrap):
        for batch in batches:
            met: list[tuple] = []
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
            by_kernel, by_input = tape.gradient(total, [kernels, [x for _, x, _ in met]])
            for path, gradient in by_kernel.items():
                if gradient is not None:
                    seen[path].kernel_energy = seen[path].kernel_energy + np.square(gradient)
            for (linear, x, y), gradient in zip(met, by_input, strict=True):
                _add(seen[linear.path], x, y, gradient)
    return seen


def _add(seen: Observed, inputs, outputs, gradient) -> None:
    axes = tuple(range(len(inputs.shape) - 1))
    seen.smallest = np.minimum(seen.smallest, tf.reduce_min(inputs, axes))
    seen.largest = np.maximum(seen.largest, tf.reduce_max(inputs, axes))
    seen.peak = np.maximum(seen.peak, tf.reduce_max(outputs, range(len(outputs.shape) - 1)))
    if gradient is not None:
        seen.input_energy = seen.input_energy + tf.reduce_sum(tf.square(gradient), axes).numpy()


class _AllMet(BaseException):
    """Every layer of interest was called. Not an Exception: Keras would catch and rewrite it."""


def collect(
    linears: Sequence[LinearLayer],
    batches: Sequence,
    most: int,
    run: Callable,
    take: Callable = lambda linear, rows: rows,
) -> dict[str, np.ndarray]:
    """Run a model on data and return what enters some of its layers, at random positions.

    Args:
        linears: the layers.
        batches: inputs. The same batches give the same positions, whatever the model computes.
        most: how many positions of each layer at most.
        run: runs the model on a batch.
        take: makes of a layer, and a float32 tensor (positions, groups, taps * inputs of a group),
            what is to be returned: a tensor of the same positions.

    Returns:
        By path an array (positions, ...).
    """
    each = -(-most // len(batches))
    taken: dict[str, list[np.ndarray]] = {linear.path: [] for linear in linears}
    by_layer = {id(linear.layer): linear for linear in linears}
    calls = collections.Counter()

    def wrap(layer, call):
        linear = by_layer[id(layer)]

        def record(inputs, *args, **kwargs):
            seed = zlib.crc32(f"{linear.path} {calls[linear.path]}".encode())
            calls[linear.path] += 1
            rows = take(linear, linear.rows(inputs, each, seed))
            # Written down when it is computed: some models are seen in graphs alone.
            tf.numpy_function(taken[linear.path].append, [rows], [])
            missing.discard(linear.path)
            if tf.executing_eagerly() and not missing:
                raise _AllMet
            return call(inputs, *args, **kwargs)

        return record

    with intercepted_calls([linear.layer for linear in linears], wrap):
        for batch in batches:
            missing = {linear.path for linear in linears}
            with contextlib.suppress(_AllMet):
                run(batch)
    return {path: np.concatenate(parts)[:most] for path, parts in taken.items()}
