"""The weights that compression works on, and what their axes mean."""

import dataclasses
import math
from collections.abc import Sequence

import keras
from keras import layers as kl

from tfcompress.compat.keras_layers import stored_embeddings, stored_kernel
from tfcompress.compat.keras_recurrent import ConvLSTMCell
from tfcompress.keras_graph.selection import LayerSelector, frozen_layers, select_layers


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One kernel of a model."""

    path: str  # the user's name for it: the layer's path, "/" and the variable's name
    layer: keras.Layer  # the layer that owns it
    variable: keras.Variable  # the float variable, of rank 2 or more
    # The axes that index output channels, as non-negative integers: (3,) for a Conv2D, (2, 3)
    # for a DepthwiseConv2D.
    output_axes: tuple[int, ...]
    depthwise: bool = False  # whether each output channel reads a single input channel

    @property
    def layer_path(self) -> str:
        """The path of its layer."""
        return self.path.rpartition("/")[0]

    @property
    def size(self) -> int:
        """The number of weights."""
        return math.prod(self.variable.shape)  # of numbers: callbacks ask at every batch


def find_kernels(
    model: keras.Model, layers: LayerSelector = None, own: Sequence[Kernel] = ()
) -> list[Kernel]:
    """List the kernels of a model, each variable once, in the order of the model.

    Covers Dense, EinsumDense (and so MultiHeadAttention), Embedding, every convolution (plain,
    transposed, depthwise, separable), the cells of LSTM, GRU and SimpleRNN, and any custom layer
    whose `kernel` is a variable of rank 2 or more. Biases and normalization vectors are no kernels.

    Returns:
        The kernels found; an empty list when the selected layers have none.
    """
    found: list[Kernel] = []
    seen: set[int] = set()
    selected = {path for path, _ in select_layers(model, layers)}
    apart = frozen_layers(model) if callable(layers) else {}
    for path, layer in select_layers(model):
        around = path not in apart and any(path.startswith(chosen + "/") for chosen in selected)
        if path not in selected and not around:
            continue
        of_layer = [(k.variable, k.output_axes, k.depthwise) for k in own if k.layer is layer]
        for variable, output_axes, depthwise in [*_kernels_of(layer), *of_layer]:
            if id(variable) not in seen:
                seen.add(id(variable))
                name = f"{path}/{variable.name}"
                found.append(Kernel(name, layer, variable, output_axes, depthwise))
    return found


def require_trained(model: keras.Model, kernels: Sequence[Kernel], task: str) -> None:
    """Raise a ValueError that says which kernel `fit` does not train, why, and what to do."""
    frozen = frozen_layers(model)
    for kernel in kernels:
        path, shape = kernel.layer_path, tuple(kernel.variable.shape)
        if kernel.variable.trainable and path not in frozen:
            continue
        if getattr(kernel.layer, "lora_enabled", False):
            raise ValueError(
                f"Layer {path!r} has LoRA enabled, which freezes its kernel of shape {shape}. "
                f"Begin {task} before `enable_lora`, or merge: `save_weights`, and `load_weights` "
                "into a model made without it. Received: lora_enabled=True"
            )
        if path not in frozen and getattr(kernel.layer, "quantization_mode", None):
            raise ValueError(
                f"Layer {path!r} was quantized by Keras, and its kernel of shape {shape} holds "
                f"integers that are not trained. Begin {task} before `quantize`. "
                f"Received: quantization_mode={kernel.layer.quantization_mode!r}"
            )
        outer = frozen.get(path, path)
        within = f" within {outer!r}" if outer != path else ""
        raise ValueError(
            f"Layer {path!r} is frozen{within}, so its kernel of shape {shape} cannot adapt to "
            f"{task}. Set `layer.trainable = True`, or leave out all that are frozen: "
            "`layers=lambda layer: layer.trainable`. Received: trainable=False"
        )


def _kernels_of(layer):
    """Return (variable, output axes, depthwise) for each kernel that the layer itself owns."""
    kernel = stored_kernel(layer)
    if isinstance(layer, (kl.DepthwiseConv1D, kl.DepthwiseConv2D)):
        return [(kernel, _last(kernel, 2), True)]
    if isinstance(layer, (kl.SeparableConv1D, kl.SeparableConv2D)):
        return [
            (layer.depthwise_kernel, _last(layer.depthwise_kernel, 2), True),
            (layer.pointwise_kernel, _last(layer.pointwise_kernel, 1), False),
        ]
    if isinstance(layer, (kl.Conv1DTranspose, kl.Conv2DTranspose, kl.Conv3DTranspose)):
        return [(kernel, (len(kernel.shape) - 2,), False)]
    if isinstance(layer, kl.EinsumDense):
        return [(kernel, _einsum_output_axes(layer.equation), False)]
    if isinstance(layer, kl.Embedding):
        return [(stored_embeddings(layer), (1,), False)]
    if isinstance(layer, (kl.LSTMCell, kl.GRUCell, kl.SimpleRNNCell, ConvLSTMCell)):
        return [(w, _last(w, 1), False) for w in (layer.kernel, layer.recurrent_kernel)]
    if isinstance(kernel, keras.Variable) and len(kernel.shape) >= 2:
        return [(kernel, _last(kernel, 1), False)]
    return []


def _last(variable, count):
    rank = len(variable.shape)
    return tuple(range(rank - count, rank))


def _einsum_output_axes(equation):
    """Return the kernel axes that appear in the output of "input,kernel->output"."""
    operands, output = equation.replace(" ", "").split("->")
    data, kernel = operands.split(",")
    return tuple(i for i, axis in enumerate(kernel) if axis in output and axis not in data)
