"""Dense layers and convolutions as what they are: a matrix at each position, group by group."""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl

from tfcompress.compat.keras_layers import stored_kernel
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.keras_graph.patches import extract_patches
from tfcompress.post_training.network import Network

_DEPTHWISE = (kl.DepthwiseConv1D, kl.DepthwiseConv2D)
_CONVOLUTIONS = (kl.Conv1D, kl.Conv2D, *_DEPTHWISE)


@dataclasses.dataclass(frozen=True)
class LinearLayer:
    """A layer that adds a bias to products of its input and a kernel.

    A convolution of ``g`` groups applies ``g`` matrices to each position; a depthwise one has as
    many groups as input channels; a Dense layer and a plain convolution have one.

    Attributes:
        path: the user's name for it.
        layer: the Keras layer.
    """

    path: str
    layer: keras.Layer

    @property
    def kernel(self) -> keras.Variable:
        """The float variable."""
        return stored_kernel(self.layer)

    @property
    def bias(self) -> keras.Variable | None:
        """The float variable (outputs,), or None."""
        return self.layer.bias if self.layer.use_bias else None

    @property
    def groups(self) -> int:
        """The number of groups."""
        if isinstance(self.layer, _DEPTHWISE):
            return self.kernel.shape[-2]
        return getattr(self.layer, "groups", 1)

    @property
    def outputs(self) -> int:
        """The number of output channels."""
        depthwise = isinstance(self.layer, _DEPTHWISE)
        return math.prod(self.kernel.shape[-2:]) if depthwise else self.kernel.shape[-1]

    @property
    def inputs(self) -> int:
        """The number of input channels."""
        depthwise = isinstance(self.layer, _DEPTHWISE)
        return self.kernel.shape[-2] * (1 if depthwise else self.groups)

    def to_matrices(self, kernel: np.ndarray) -> np.ndarray:
        """Arrange an array of the kernel's shape as (groups, taps * inputs, outputs)."""
        groups = self.groups
        split = kernel.reshape(-1, self.inputs // groups, groups, self.outputs // groups)
        return split.transpose(2, 0, 1, 3).reshape(groups, -1, self.outputs // groups)

    def from_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """Undo ``to_matrices``."""
        groups = self.groups
        split = matrices.reshape(groups, -1, self.inputs // groups, self.outputs // groups)
        return split.transpose(1, 2, 0, 3).reshape(self.kernel.shape)

    def by_channels(self, kernel: np.ndarray) -> np.ndarray:
        """Arrange an array of the kernel's shape as (taps, inputs, outputs of one group)."""
        groups = self.groups
        split = kernel.reshape(-1, self.inputs // groups, groups, self.outputs // groups)
        return split.transpose(0, 2, 1, 3).reshape(len(split), self.inputs, -1)

    def from_channels(self, values: np.ndarray) -> np.ndarray:
        """Undo ``by_channels``."""
        groups = self.groups
        split = values.reshape(len(values), groups, self.inputs // groups, self.outputs // groups)
        return split.transpose(0, 2, 1, 3).reshape(self.kernel.shape)

    def rows(self, inputs, most: int, seed: int) -> tf.Tensor:
        """Return what the matrices are applied to, at random positions.

        Args:
            inputs: the layer's input, channels last.
            most: how many positions at most.
            seed: the same seed and the same shape of input give the same positions.

        Returns:
            float32 tensor (positions, groups, taps * inputs of a group).
        """
        x = tf.cast(inputs, tf.float32)
        if isinstance(self.layer, _CONVOLUTIONS):
            x = extract_patches(self.layer, x)
        flat = tf.reshape(x, (-1, x.shape[-1]))
        order = np.random.default_rng(seed).permutation(flat.shape[0])[:most]
        chosen = tf.gather(flat, np.sort(order))
        split = tf.reshape(chosen, (len(order), -1, self.groups, self.inputs // self.groups))
        return tf.reshape(tf.transpose(split, (0, 2, 1, 3)), (len(order), self.groups, -1))

    def products(self, rows, matrices) -> tf.Tensor:
        """Return what the layer computes of ``rows`` with other weights, without its bias.

        Args:
            rows: see ``rows``.
            matrices: float32 array (groups, taps * inputs of a group, outputs of a group).

        Returns:
            float32 tensor (positions, outputs).
        """
        return tf.reshape(tf.einsum("pgn,gnm->pgm", rows, matrices), (-1, self.outputs))


def float64(variable) -> np.ndarray:
    """Return the values of a variable in double precision."""
    return keras.ops.convert_to_numpy(variable).astype(np.float64)


def is_linear(layer: keras.Operation) -> bool:
    """Tell whether a layer can be taken as a ``LinearLayer``."""
    if isinstance(layer, kl.Dense):
        return True
    return isinstance(layer, _CONVOLUTIONS) and layer.data_format == "channels_last"


def linear_layers(model: keras.Model) -> tuple[list[LinearLayer], dict[str, str]]:
    """List the layers of a model that are linear, and the others that have kernels.

    Args:
        model: a built Functional or Sequential model.

    Returns:
        The layers in the order of the model; and by the path of each other, why it is left.
    """
    called = {id(call.layer) for call in Network(model).calls}
    found: dict[str, LinearLayer] = {}
    left = {}
    for kernel in find_kernels(model):
        path = kernel.layer_path
        if is_linear(kernel.layer) and id(kernel.layer) in called:
            found[path] = LinearLayer(path, kernel.layer)
        elif is_linear(kernel.layer):
            left[path] = "it is called inside another layer"
        else:
            left[path] = f"a {type(kernel.layer).__name__} is left as it is"
    return list(found.values()), left
