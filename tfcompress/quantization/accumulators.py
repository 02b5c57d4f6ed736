"""The integers in which a device sums up: biases are rounded to the unit of the sum.

A layer with a rounded kernel adds products of integers in 32 bits. One unit of the sum is the step
of the input times the step of the weights, and the bias is stored in that unit
(https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec). So is the
shift of a BatchNormalization that the converter folds into the kernel. The unit is small, but
without the rounding one value in some hundreds falls on the other side between two steps of the
output, and moves others in the layers behind.
"""

import contextlib
from collections.abc import Callable

import keras
import tensorflow as tf
from keras import layers as kl
from keras.src.backend import AutocastScope

from tfcompress.graph.inner_tensors import unwatched
from tfcompress.graph.interception import VariableSwap


class AccumulatorUnits:
    """Follows, through one run of a model, the steps of tensors and the units of sums.

    Tensors are told apart by identity, and kept alive for that.

    Args:
        step_of_tensor: gives the step of a tensor that is stored, a float32 scalar; otherwise None.
        step_of_kernel: gives the steps of a layer's one rounded kernel, of shape () or (output
            channels,); None for other operations.
    """

    def __init__(self, step_of_tensor: Callable, step_of_kernel: Callable):
        self._step_of_tensor, self._step_of_kernel = step_of_tensor, step_of_kernel
        self._steps: dict[int, tuple] = {}
        self._units: dict[int, tuple] = {}

    def wrap(self, operation, call: Callable, batch_statistics: bool) -> Callable:
        """Return an operation's call with its bias, or its shift, rounded to the unit of the sum.

        Args:
            operation: the layer or operation.
            call: what computes it.
            batch_statistics: whether normalizations use the statistics of the batch: what is folded
                into a kernel are the moving ones.

        Returns:
            The callable to use instead of ``call``.
        """
        prepare = unwatched(self._prepared)

        def run(*args, **kwargs):
            read = next((x for x in keras.tree.flatten(args) if tf.is_tensor(x)), None)
            step, unit, swaps = prepare(operation, read, batch_statistics)
            with VariableSwap(swaps) if swaps else contextlib.nullcontext():
                outputs = call(*args, **kwargs)
            for tensor in keras.tree.flatten(outputs):
                if unit is not None:
                    self._units[id(tensor)] = (tensor, unit)
                elif step is not None:  # pooling, padding, reshaping: the same step
                    self._steps[id(tensor)] = (tensor, step)
            return outputs

        return run

    def _prepared(self, operation, read, batch_statistics):
        """Return the step of what is read, the unit of the sum, and the variables to replace."""
        step, weights = self._step(read), self._step_of_kernel(operation)
        if weights is not None and step is not None:
            unit = step * weights
            return step, unit, _rounded_bias(operation, unit)
        if type(operation) is kl.BatchNormalization and not batch_statistics:
            return step, None, _rounded_shift(operation, _find(self._units, read))
        return step, None, []

    def _step(self, tensor):
        own = self._step_of_tensor(tensor)
        return _find(self._steps, tensor) if own is None else own


def round_to_unit(values, unit):
    """Round numbers to multiples of a unit.

    Args:
        values: float32 tensor.
        unit: float32 tensor of positive numbers that broadcasts to ``values``.

    Returns:
        float32 tensor of the shape of ``values``. Gradients pass straight through.

    Example:
    >>> round_to_unit(tf.constant([0.24, -0.26]), tf.constant(0.5)).numpy()
    array([ 0. , -0.5], dtype=float32)
    """
    return values + tf.stop_gradient(tf.round(values / unit) * unit - values)


def _rounded_bias(layer, unit):
    bias = getattr(layer, "bias", None)
    if not isinstance(bias, keras.Variable):
        return []
    with AutocastScope(None):  # the stored float32 bias, also under mixed precision
        value = tf.convert_to_tensor(bias.value)
    if len(unit.shape):
        unit = tf.reshape(unit, value.shape)
    return [(bias, round_to_unit(value, unit))]


def _rounded_shift(layer, unit):
    """Move ``beta`` so that beta - mean * scale is a multiple of the unit of the scaled sum."""
    if unit is None or not layer.center:
        return []
    with AutocastScope(None):
        gamma = tf.convert_to_tensor(layer.gamma.value) if layer.scale else 1.0
        beta, mean, variance = (
            tf.convert_to_tensor(variable.value)
            for variable in (layer.beta, layer.moving_mean, layer.moving_variance)
        )
    scale = gamma * tf.math.rsqrt(variance + layer.epsilon)
    shift = beta - mean * scale
    unit = tf.maximum(unit * tf.abs(scale), 1e-30)
    return [(layer.beta, beta + (round_to_unit(shift, unit) - shift))]


def _find(known, tensor):
    entry = known.get(id(tensor))
    return None if entry is None else entry[1]
