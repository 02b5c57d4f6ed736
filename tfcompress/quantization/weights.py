"""Layers that compute with the weights of the deployed model."""

import copy
import dataclasses
import functools
import math
from collections.abc import Callable

import keras
import numpy as np
from keras import layers as kl
from keras import ops

from tfcompress.backends import graph_being_built
from tfcompress.compat.keras_recurrent import ConvLSTMCell
from tfcompress.compat.keras_training import without_autocast
from tfcompress.keras_graph.inner_tensors import unwatched
from tfcompress.keras_graph.interception import VariableSwap
from tfcompress.keras_graph.kernels import Kernel, find_kernels
from tfcompress.keras_graph.selection import walk_layers
from tfcompress.quantization.arithmetic.fake_quantization import (
    fake_quantize_weights,
    quantize_with_learned_step,
    round_to_half,
    round_weights,
    usable_step,
    weight_limit,
)
from tfcompress.quantization.layer_schemes import CONVOLUTIONS, LayerSchemes
from tfcompress.quantization.lowerings import observable_call
from tfcompress.quantization.planning import SMALLEST_DYNAMIC
from tfcompress.quantization.scheme import Scheme


class QuantizedWeights:
    """The kernels of a model, rounded as their scheme says whenever their layer is called.

    Attributes:
        steps: step sizes that are trained, by the id of the kernel's variable; none by default.
        factors: what the file scales the output channels of a kernel by before it rounds the whole
            kernel to one grid, by the id of its variable: a function that returns a float32 tensor,
            one number per channel. None by default.
    """

    def __init__(self, model: keras.Model, schemes: LayerSchemes):
        self.steps: dict[int, keras.Variable] = {}
        self.factors: dict[int, Callable] = {}
        self._computed_once: dict[tuple, object] | None = None
        self._kernels: dict[int, list[RoundedKernel]] = {}
        for kernel in find_kernels(model):
            scheme = schemes[kernel.layer_path]
            if scheme is not None and not _stays_float(kernel, scheme):
                rounded = RoundedKernel(kernel, scheme)
                self._kernels.setdefault(id(kernel.layer), []).append(rounded)

    @property
    def kernels(self) -> "list[RoundedKernel]":
        """The kernels that are rounded, in the order of the model."""
        return [kernel for of_layer in self._kernels.values() for kernel in of_layer]

    def wrap(self, layer, call, tap, learning=False):
        """Return a layer's call with rounded kernels and visible inner tensors (a tap's wrap)."""
        inner = observable_call(layer, call, tap)
        kernels = self._kernels.get(id(layer))
        if not kernels:
            return inner

        round_kernel = unwatched(self._round)

        def run(*args, **kwargs):
            swaps = [(kernel.variable, round_kernel(kernel, learning)) for kernel in kernels]
            with VariableSwap(swaps):
                return inner(*args, **kwargs)

        return run

    def for_one_run(self) -> "QuantizedWeights":
        """Return the same weights for one run of the model, in which each is computed once.

        A recurrent layer calls its cell once a step.
        """
        weights = copy.copy(self)
        weights._computed_once = {}
        return weights

    def rounded(self) -> list[tuple[keras.Variable, object]]:
        """Return each kernel's variable with its present value, rounded."""
        return [(kernel.variable, self._round(kernel, False)) for kernel in self.kernels]

    def step_of(self, layer):
        """Return what computes the steps of a layer's one rounded kernel, None without such.

        Their shape is () or (output channels,).
        """
        kernels = self._kernels.get(id(layer), ())
        return functools.partial(self._present_steps, *kernels) if len(kernels) == 1 else None

    def _present_steps(self, kernel):
        """Compute the steps of a kernel."""
        steps = self.steps.get(id(kernel.variable))
        return kernel.present_steps(steps, self._factor(kernel, steps), self._limit(kernel))

    def start_steps(self) -> None:
        """Let the step sizes that are trained follow from the present weights."""
        for kernel in self.kernels:
            if id(kernel.variable) in self.steps:
                self.steps[id(kernel.variable)].assign(kernel.first_steps())

    def _factor(self, kernel, steps):
        """Return what the file scales a kernel's channels by, None if it does not."""
        make = self.factors.get(id(kernel.variable))
        return None if make is None or steps is not None else ops.stop_gradient(make())

    def _round(self, kernel, learning):
        """Return a kernel, rounded; in one run of the model, once."""

        def compute():
            steps = self.steps.get(id(kernel.variable))
            return kernel.rounded(steps, learning, self._factor(kernel, steps), self._limit(kernel))

        return self._once(kernel, "rounded", compute)

    def _limit(self, kernel):
        """Return the largest numbers of a kernel's grid; in one run of the model, once."""
        return self._once(kernel, "limit", kernel.limit)

    def _once(self, kernel, what, compute):
        """Compute something of a kernel; in one run of the model, once."""
        known = {} if self._computed_once is None else self._computed_once
        key = (id(kernel.variable), what, id(graph_being_built()))
        if key not in known:
            known[key] = compute()
        return known[key]


@dataclasses.dataclass(frozen=True)
class RoundedKernel:
    """A kernel and the scheme that it is rounded with."""

    kernel: Kernel
    scheme: Scheme

    @property
    def variable(self) -> keras.Variable:
        """The float variable."""
        return self.kernel.variable

    @property
    def scale_axes(self) -> tuple[int, ...] | None:
        """The axes that scales run along, ``None`` for one scale."""
        scheme, layer = self.scheme, self.kernel.layer
        many = isinstance(layer, CONVOLUTIONS) or scheme.dense_per_channel
        return self.kernel.output_axes if many and scheme.per_channel_weights else None

    @property
    def levels(self) -> int:
        """The largest integer on the grid."""
        return 2 ** (self.scheme.weight_bits - 1) - 1

    def first_steps(self):
        """Return the step sizes that follow from the largest weights, a float32 tensor."""
        return self.limit() / self.levels

    def present_steps(self, steps: keras.Variable | None = None, factor=None, limit=None):
        """Return the step sizes that ``rounded`` uses, of shape () or (output channels,)."""
        if factor is not None:
            scaled = weight_limit(self.stored() * self._along_outputs(factor))
            return ops.divide_no_nan(scaled / self.levels, ops.abs(ops.reshape(factor, [-1])))
        start = (self.limit() if limit is None else limit) / self.levels
        if steps is None:
            steps = start
        else:
            steps = usable_step(ops.stop_gradient(ops.convert_to_tensor(steps)), start)
        return ops.reshape(steps, [-1] if self.scale_axes is not None else [])

    def limit(self, steps: keras.Variable | None = None):
        """Return the largest numbers of the grid that ``rounded`` rounds to."""
        if steps is None:
            return weight_limit(self.stored(), self.scale_axes)
        return usable_step(ops.convert_to_tensor(steps), self.first_steps()) * self.levels

    def rounded(
        self,
        steps: keras.Variable | None = None,
        learning: bool = False,
        factor=None,
        limit=None,
    ):
        """Return the weights as they are deployed; ``limit()`` may be computed already."""
        weights, axes = self.stored(), self.scale_axes
        if factor is not None:
            factor = self._along_outputs(factor)
            scaled = fake_quantize_weights(weights * factor, self.scheme.weight_bits)
            return weights + ops.stop_gradient(ops.divide_no_nan(scaled, factor) - weights)
        if self.scheme.weight_bits == 16:
            return round_to_half(weights)
        if steps is None:
            limit = self.limit() if limit is None else limit
            return round_weights(weights, limit, self.scheme.weight_bits, axes)
        if not learning:
            limit = ops.stop_gradient(self.limit(steps))
            return fake_quantize_weights(weights, self.scheme.weight_bits, axes, limit)
        steps = usable_step(ops.convert_to_tensor(steps), self.first_steps())
        for axis in range(len(weights.shape)):
            if axes is not None and axis not in axes:
                steps = ops.expand_dims(steps, axis)
        count = math.prod(weights.shape) // math.prod(steps.shape)
        return quantize_with_learned_step(weights, steps, -self.levels, self.levels, count)

    def _along_outputs(self, factor):
        """Bring one number per output channel to the shape of the kernel."""
        axes, shape = self.kernel.output_axes, self.variable.shape
        return ops.reshape(factor, [n if axis in axes else 1 for axis, n in enumerate(shape)])

    def stored(self):
        """Return the float32 weights."""
        with without_autocast():  # the stored float32 weight, also under mixed precision
            return ops.convert_to_tensor(self.kernel.variable.value)


def stepped_in_the_first_version(model: keras.Model, scheme: Scheme) -> list[str]:
    """List the kernels that had trained step sizes in files of the first version."""
    convolutions = (ConvLSTMCell, kl.Conv2D, kl.DepthwiseConv2D, kl.SeparableConv2D)
    if scheme.activation_bits != 8:
        return []
    return [
        kernel.path
        for kernel in find_kernels(model)
        if isinstance(kernel.layer, convolutions)
        or RoundedKernel(kernel, scheme).scale_axes is None
    ]


def _stays_float(kernel, scheme):
    """Tell whether a kernel is not stored as integers of few bits."""
    if scheme.activation_bits is None:
        return scheme.weight_bits == 8 and kernel.size < SMALLEST_DYNAMIC
    # A table has the type of the rows that are looked up in it.
    return scheme.activation_bits == 16 and isinstance(kernel.layer, kl.Embedding)


def require_usable_weights(model: keras.Model) -> None:
    """Raise a ValueError that names layers of integers, or of NaN or infinite weights."""
    modes = {path: getattr(layer, "quantization_mode", None) for path, layer in walk_layers(model)}
    quantized = [path for path, mode in modes.items() if mode is not None]
    if quantized:
        raise ValueError(
            f"Layer {quantized[0]!r} of model {model.name!r} was quantized by Keras, whose "
            "integers are not those of a .tflite file. Take the model from before `quantize`. "
            f"Received: quantization_mode={modes[quantized[0]]!r}"
        )
    owners = {}
    for path, layer in walk_layers(model):  # sublayers come later, and own what is theirs
        owners.update(dict.fromkeys(map(id, layer.weights), path))
    lost = {
        owners.get(id(variable), variable.path): None
        for variable in model.weights
        if keras.backend.is_float_dtype(variable.dtype)
        and not np.isfinite(keras.ops.convert_to_numpy(variable).astype("float32")).all()
        and id(variable) in owners
    }
    if lost:
        raise ValueError(
            f"Model {model.name!r} has weights that are NaN or infinite, in these layers: "
            f"{', '.join(lost)}. Training has gone astray: look at the data and the learning rate, "
            "and go back to an earlier checkpoint."
        )
