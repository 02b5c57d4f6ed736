"""Dense layers and convolutions as matrix products at each position, group by group."""

import collections
import contextlib
import dataclasses
import math
import zlib
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import layers as kl
from keras import ops

from tfcompress.backends import call_when_run, image_patches, runs_eagerly
from tfcompress.compat.keras_layers import stored_kernel
from tfcompress.keras_graph.interception import intercepted_calls
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.keras_graph.layer_calls import LayerCalls

_DEPTHWISE = (kl.DepthwiseConv1D, kl.DepthwiseConv2D)
_CONVOLUTIONS = (kl.Conv1D, kl.Conv2D, *_DEPTHWISE)


@dataclasses.dataclass(frozen=True)
class LinearLayer:
    """A layer that adds a bias to the product of its input and a kernel.

    A convolution of ``g`` groups applies ``g`` matrices at each position; a depthwise one has as
    many groups as input channels; a Dense layer and a plain convolution have one. ``calls`` is how
    often the model calls the layer.
    """

    path: str
    layer: keras.Layer
    calls: int = 1

    @property
    def kernel(self) -> keras.Variable:
        """The float variable."""
        return self.layer.kernel if self._is_depthwise else stored_kernel(self.layer)

    @property
    def bias(self) -> keras.Variable | None:
        """The float variable (outputs,), or None."""
        return self.layer.bias if self.layer.use_bias else None

    @property
    def groups(self) -> int:
        """The number of groups."""
        return self.kernel.shape[-2] if self._is_depthwise else getattr(self.layer, "groups", 1)

    @property
    def outputs(self) -> int:
        """The number of output channels."""
        return math.prod(self.kernel.shape[-2:]) if self._is_depthwise else self.kernel.shape[-1]

    @property
    def inputs(self) -> int:
        """The number of input channels."""
        return self.kernel.shape[-2] * (1 if self._is_depthwise else self.groups)

    @property
    def _is_depthwise(self):
        """Whether each output channel reads a single input channel."""
        return isinstance(self.layer, _DEPTHWISE)

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

    def to_channels(self, kernel: np.ndarray) -> np.ndarray:
        """Arrange an array of the kernel's shape as (taps, inputs, outputs of one group)."""
        groups = self.groups
        split = kernel.reshape(-1, self.inputs // groups, groups, self.outputs // groups)
        return split.transpose(0, 2, 1, 3).reshape(len(split), self.inputs, -1)

    def from_channels(self, values: np.ndarray) -> np.ndarray:
        """Undo ``to_channels``."""
        groups = self.groups
        split = values.reshape(len(values), groups, self.inputs // groups, self.outputs // groups)
        return split.transpose(0, 2, 1, 3).reshape(self.kernel.shape)

    def rows(self, inputs, max_rows: int, seed: int):
        """Return what the matrices multiply, at ``max_rows`` random positions at most.

        The same seed and input shape (channels last) give the same positions. Returns a float32
        tensor (positions, groups, taps * inputs of a group).
        """
        x = ops.cast(inputs, "float32")
        if isinstance(self.layer, _CONVOLUTIONS):
            x = extract_patches(self.layer, x)
        flat = ops.reshape(x, (-1, x.shape[-1]))
        order = np.random.default_rng(seed).permutation(flat.shape[0])[:max_rows]
        chosen = ops.take(flat, np.sort(order), axis=0)
        split = ops.reshape(chosen, (len(order), -1, self.groups, self.inputs // self.groups))
        return ops.reshape(ops.transpose(split, (0, 2, 1, 3)), (len(order), self.groups, -1))

    def products(self, rows, matrices):
        """Return what the layer computes of ``rows`` with other matrices, without its bias.

        Returns a float32 tensor (positions, outputs).
        """
        return ops.reshape(ops.einsum("pgn,gnm->pgm", rows, matrices), (-1, self.outputs))


def float64(variable) -> np.ndarray:
    """Return the values of a variable in double precision."""
    return keras.ops.convert_to_numpy(variable).astype(np.float64)


def is_linear(layer: keras.Operation) -> bool:
    """Return whether a layer can be taken as a ``LinearLayer``."""
    if isinstance(layer, kl.Dense):
        return True
    return isinstance(layer, _CONVOLUTIONS) and layer.data_format == "channels_last"


def linear_layers(model: keras.Model) -> tuple[list[LinearLayer], dict[str, str]]:
    """List the linear layers of a Functional or Sequential model, in its order.

    Also returns, by the path of each other layer with a kernel, the reason why it is not one.
    """
    calls = collections.Counter(id(call.layer) for call in LayerCalls(model).calls)
    found: dict[str, LinearLayer] = {}
    skipped = {}
    for kernel in find_kernels(model):
        path = kernel.layer_path
        if is_linear(kernel.layer) and id(kernel.layer) in calls:
            found[path] = LinearLayer(path, kernel.layer, calls[id(kernel.layer)])
        elif is_linear(kernel.layer):
            skipped[path] = "it is called inside another layer"
        else:
            skipped[path] = f"layers of type {type(kernel.layer).__name__} are not supported"
    return list(found.values()), skipped


class _AllSeen(BaseException):
    """Every layer of interest was called. Not an Exception: Keras would catch and rewrite it."""


def collect_rows(
    linears: Sequence[LinearLayer],
    batches: Sequence,
    max_rows: int,
    run: Callable,
    transform: Callable = lambda linear, rows: rows,
) -> dict[str, np.ndarray]:
    """Run a model on batches and return the rows that enter some of its layers.

    The same batches give the same random positions, whatever the model computes. ``run`` takes a
    batch; ``transform`` takes a layer and its ``rows`` and returns what to collect of each.
    Returns arrays (positions, ...) by path, of ``max_rows`` positions at most.
    """
    per_batch = -(-max_rows // len(batches))
    collected: dict[str, list[np.ndarray]] = {linear.path: [] for linear in linears}
    by_layer = {id(linear.layer): linear for linear in linears}
    calls = collections.Counter()

    def wrap(layer, call):
        linear = by_layer[id(layer)]

        def record(inputs, *args, **kwargs):
            seed = zlib.crc32(f"{linear.path} {calls[linear.path]}".encode())
            calls[linear.path] += 1
            rows = transform(linear, linear.rows(inputs, per_batch, seed))
            call_when_run(collected[linear.path].append, rows)
            missing[linear.path] -= 1
            if runs_eagerly() and not any(missing.values()):
                raise _AllSeen
            return call(inputs, *args, **kwargs)

        return record

    with intercepted_calls([linear.layer for linear in linears], wrap):
        for batch in batches:
            missing = {linear.path: linear.calls for linear in linears}
            with contextlib.suppress(_AllSeen):
                run(batch)
    return {path: np.concatenate(parts)[:max_rows] for path, parts in collected.items()}


def collect_outputs(
    linears: Sequence[LinearLayer], batches: Sequence, max_rows: int, run: Callable
) -> dict[str, np.ndarray]:
    """Return the outputs of layers, before activations, for what ``collect_rows`` returns."""

    def outputs(linear, rows):
        kernel = ops.convert_to_numpy(linear.kernel)
        products = linear.products(rows, linear.to_matrices(kernel))
        return products if linear.bias is None else products + ops.convert_to_tensor(linear.bias)

    return collect_rows(linears, batches, max_rows, run, outputs)


def extract_patches(layer: keras.Layer, x):
    """Return the patches of its input that a convolution reads."""
    spatial = [layer.kernel_size, layer.strides, layer.dilation_rate]
    padding = layer.padding
    if len(layer.kernel_size) == 1:
        x = x[:, None]
        spatial = [(1, *sizes) for sizes in spatial]
    size, strides, rates = spatial
    if padding == "causal":
        x = ops.pad(x, [(0, 0), (0, 0), ((size[1] - 1) * rates[1], 0), (0, 0)])
        padding = "valid"
    return image_patches(x, size, strides, rates, padding)
