"""Layers that compute with the weights of the deployed model."""

import keras
from keras import layers as kl
from keras.src.backend import AutocastScope

from tfcompress.graph.interception import VariableSwap
from tfcompress.graph.kernels import Kernel, find_kernels
from tfcompress.graph.selection import LayerSelector
from tfcompress.quantization.fake_quantization import fake_quantize_weights
from tfcompress.quantization.layer_calls import observable_call
from tfcompress.quantization.scheme import Scheme

# The converter takes one scale per channel for the kernels of these layers, and for no others.
_PER_CHANNEL = (kl.Conv2D, kl.DepthwiseConv2D, kl.SeparableConv2D)


class QuantizedWeights:
    """The kernels of a model, rounded as a scheme says whenever their layer is called.

    Args:
        model: a built Keras model.
        scheme: the numerics.
        layers: which layers have their kernels rounded; see ``select_layers``.
    """

    def __init__(self, model: keras.Model, scheme: Scheme, layers: LayerSelector = None):
        self._scheme = scheme
        self._kernels: dict[int, list[Kernel]] = {}
        for kernel in find_kernels(model, layers):
            self._kernels.setdefault(id(kernel.layer), []).append(kernel)

    def __contains__(self, layer) -> bool:
        """Tell whether any kernel of the layer is rounded."""
        return id(layer) in self._kernels

    def wrap(self, layer, call, tap):
        """Return a layer's call with rounded kernels and visible inner tensors (a tap's wrap)."""
        inner = observable_call(layer, call, tap)
        kernels = self._kernels.get(id(layer))
        if not kernels:
            return inner

        def run(*args, **kwargs):
            with VariableSwap([(kernel.variable, self._round(kernel)) for kernel in kernels]):
                return inner(*args, **kwargs)

        return run

    def rounded(self) -> list[tuple[keras.Variable, object]]:
        """Return each kernel's variable with its present value, rounded."""
        kernels = [kernel for of_layer in self._kernels.values() for kernel in of_layer]
        return [(kernel.variable, self._round(kernel)) for kernel in kernels]

    def _round(self, kernel):
        per_channel = self._scheme.per_channel_weights and isinstance(kernel.layer, _PER_CHANNEL)
        with AutocastScope(None):  # the stored float32 weight, also under mixed precision
            weights = kernel.variable.value
        return fake_quantize_weights(
            weights, self._scheme.weight_bits, kernel.output_axes if per_channel else None
        )
