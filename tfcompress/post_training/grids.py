"""Which grid the weights of each linear layer are rounded to."""

import math
from collections.abc import Mapping

import keras
import numpy as np

from tfcompress.post_training.linear import LinearLayer
from tfcompress.quantization import Scheme
from tfcompress.quantization.layer_schemes import resolve_schemes
from tfcompress.quantization.weights import QuantizedWeights, RoundedKernel


class WeightGrids:
    """The grids of a model's kernels under a scheme.

    Args:
        model: a built model.
        scheme: the numerics.
    """

    def __init__(self, model: keras.Model, scheme: Scheme):
        weights = QuantizedWeights(model, resolve_schemes(model, scheme))
        self._rounded: Mapping[int, RoundedKernel] = {id(k.variable): k for k in weights.kernels}

    def levels(self, linear: LinearLayer) -> float:
        """Return the largest integer on a layer's grid; infinite where weights stay floats."""
        rounded = self._rounded.get(id(linear.kernel))
        return math.inf if rounded is None else rounded.levels

    def shared(self, linear: LinearLayer) -> np.ndarray:
        """Return which scale each output channel has: an int array (outputs,)."""
        rounded = self._rounded.get(id(linear.kernel))
        one_scale = rounded is None or rounded.scale_axes is None
        return np.zeros(linear.outputs, int) if one_scale else np.arange(linear.outputs)

    def rounded(self, linear: LinearLayer) -> np.ndarray:
        """Return a layer's kernel as it is deployed, an array of its shape."""
        rounded = self._rounded.get(id(linear.kernel))
        return keras.ops.convert_to_numpy(linear.kernel if rounded is None else rounded.rounded())
