"""Signal-to-noise ratios of a model's layers and outputs, once all is rounded."""

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfcompress.keras_graph.interception import intercepted_calls
from tfcompress.post_training.linear import LinearLayer

OUTPUTS = "outputs"


class SignalToNoise:
    """Sums up signals and what differs from them.

    Example:
    >>> ratio = SignalToNoise()
    >>> ratio.add(np.array([10.0]), np.array([9.0]))
    >>> ratio.decibels
    20.0
    """

    def __init__(self):
        self._signal = self._noise = 0.0

    def add(self, wanted: np.ndarray, found: np.ndarray) -> None:
        """Add arrays of the same shape."""
        wanted = wanted.astype(np.float64)
        self._signal += float(np.square(wanted).sum())
        self._noise += float(np.square(wanted - found).sum())

    @property
    def decibels(self) -> float:
        """The ratio of the energies in dB: infinite where nothing differs."""
        if self._noise == 0:
            return math.inf
        return 10.0 * math.log10(max(self._signal, 1e-300) / self._noise)


def outputs_of(linears: Sequence[LinearLayer], run: Callable, batch) -> dict[str, list[np.ndarray]]:
    """Run a model on a batch and return what its linear layers, and the model itself, make.

    Args:
        linears: layers of the model.
        run: runs the model on a batch and returns its outputs.
        batch: the inputs.

    Returns:
        By path, the output of each call; and the model's outputs as "outputs".
    """
    made: dict[str, list[np.ndarray]] = {linear.path: [] for linear in linears}
    paths = {id(linear.layer): linear.path for linear in linears}

    def wrap(layer, call):
        def record(*args, **kwargs):
            outputs = call(*args, **kwargs)
            tf.numpy_function(made[paths[id(layer)]].append, [outputs], [])
            return outputs

        return record

    with intercepted_calls([linear.layer for linear in linears], wrap):
        outputs = run(batch)
    return {**made, OUTPUTS: [np.asarray(tensor) for tensor in keras.tree.flatten(outputs)]}
