"""The integers in which a device sums up: biases are rounded to the unit of the sum.

A layer with a rounded kernel adds products of integers in 32 bits. One unit of the sum is the step
of the input times the step of the weights, and the bias is stored in that unit
(https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec). So is the
shift of a BatchNormalization that the converter folds into the kernel. The unit is small, but
without the rounding one value in some hundreds falls on the other side between two steps of the
output, and moves others in the layers behind.

Averages are sums of integers, divided: their halves are rounded away from the integer zero.
"""

import contextlib
import functools
from collections.abc import Callable

import keras
from keras import layers as kl
from keras import ops

from tfcompress.compat.keras_training import without_autocast
from tfcompress.keras_graph.inner_tensors import unwatched
from tfcompress.keras_graph.interception import VariableSwap, is_deploying

_POOLING = (kl.AveragePooling1D, kl.AveragePooling2D)
# In steps: more than float32 arithmetic is off by, less than lies between averages of few hundred.
_NUDGE = 2e-4


class AccumulatorUnits:
    """Follows, through one run of a model, the grids of tensors and the units of sums.

    Tensors are told apart by identity, and kept alive for that. ``grid_of_tensor`` gives for a
    tensor that is stored a function that returns its step and the real number whose integer is 0,
    ``step_of_kernel`` for an operation with one rounded kernel one that returns the steps, of shape
    () or (output channels,); both None otherwise. Few operations need them, so they are computed
    where they are used.
    """

    def __init__(self, grid_of_tensor: Callable, step_of_kernel: Callable):
        self._grid_of_tensor, self._step_of_kernel = grid_of_tensor, step_of_kernel
        self._grids: dict[int, tuple] = {}
        self._units: dict[int, tuple] = {}

    def wrap(self, operation, call: Callable, batch_statistics: bool) -> Callable:
        """Return an operation's call with its bias, or shift, rounded to the unit of the sum."""
        prepare, halves_away = unwatched(self._prepared), unwatched(_halves_away_from_zero)

        def run(*args, **kwargs):
            read = next((x for x in keras.tree.flatten(args) if ops.is_tensor(x)), None)
            grid, unit, swaps = prepare(operation, read, batch_statistics)
            with VariableSwap(swaps) if swaps else contextlib.nullcontext():
                outputs = call(*args, **kwargs)
            if grid is not None and isinstance(operation, _POOLING) and not is_deploying():
                outputs = halves_away(outputs, grid)
            for tensor in keras.tree.flatten(outputs):
                if unit is not None:
                    self._units[id(tensor)] = (tensor, unit)
                elif grid is not None:  # pooling, padding, reshaping: the same grid
                    self._grids[id(tensor)] = (tensor, grid)
            return outputs

        return run

    def _prepared(self, operation, read, batch_statistics):
        """Return the grid of what is read, the unit of the sum, and the variables to replace."""
        grid, weights = self._grid(read), self._step_of_kernel(operation)
        if weights is not None and grid is not None:
            unit = functools.partial(_product, grid, weights)
            return grid, unit, _rounded_bias(operation, unit)
        if type(operation) is kl.BatchNormalization and not batch_statistics:
            return grid, None, _rounded_shift(operation, _find(self._units, read))
        return grid, None, []

    def _grid(self, tensor):
        """Return the grid of a tensor that is stored, or that was copied from one."""
        own = self._grid_of_tensor(tensor)
        return _find(self._grids, tensor) if own is None else own


def _product(grid, weights):
    """Return the unit of a sum of products."""
    return grid()[0] * weights()


def round_to_unit(values, unit):
    """Round numbers to multiples of a unit.

    Example:
    >>> round_to_unit(tf.constant([0.24, -0.26]), tf.constant(0.5)).numpy()
    array([ 0. , -0.5], dtype=float32)
    """
    return values + ops.stop_gradient(ops.round(values / unit) * unit - values)


def _halves_away_from_zero(averages, grid):
    """Move averages off the middle between two steps, to the side that the device rounds to."""
    step, middle = grid()
    return averages + ops.cast(_NUDGE * step, averages.dtype) * ops.sign(
        averages - ops.cast(middle, averages.dtype)
    )


def _rounded_bias(layer, unit):
    """Return a layer's bias with its value, rounded to the unit."""
    bias = getattr(layer, "bias", None)
    if not isinstance(bias, keras.Variable):
        return []
    with without_autocast():  # the stored float32 bias, also under mixed precision
        value = ops.convert_to_tensor(bias.value)
    unit = unit()
    if len(unit.shape):
        unit = ops.reshape(unit, value.shape)
    return [(bias, round_to_unit(value, unit))]


def _rounded_shift(layer, unit):
    """Move ``beta`` so that beta - mean * scale is a multiple of the unit of the scaled sum."""
    if unit is None or not layer.center:
        return []
    with without_autocast():
        gamma = ops.convert_to_tensor(layer.gamma.value) if layer.scale else 1.0
        beta, mean, variance = (
            ops.convert_to_tensor(variable.value)
            for variable in (layer.beta, layer.moving_mean, layer.moving_variance)
        )
    scale = gamma * ops.rsqrt(variance + layer.epsilon)
    shift = beta - mean * scale
    unit = ops.maximum(unit() * ops.abs(scale), 1e-30)
    return [(layer.beta, beta + (round_to_unit(shift, unit) - shift))]


def _find(known, tensor):
    """Return what is known of a tensor, None if nothing is."""
    return known.get(id(tensor), (None, None))[1]
