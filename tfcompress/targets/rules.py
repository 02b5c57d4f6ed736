"""The rules in the JSON files of targets.

A rule takes an operation and the value that the target gives for the rule. It returns why the
operation breaks the rule, or None.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tfcompress.targets.target import oldest_runtime, version_key
from tfcompress.tflite.constants import bits_per_value, constant_value
from tfcompress.tflite.model import FlatbufferError, Operation, Subgraph, Tensor, TFLiteModel
from tfcompress.tflite.names import layer_scope

# Where the parameters of an operation are among its inputs; the others are its data.
_KERNEL_INPUTS = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "FULLY_CONNECTED": (1, 2),
    "TRANSPOSE_CONV": (0, 1, 3),
    "PRELU": (1,),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tuple(range(1, 18)),
}


Rule = Callable[["Site", Any], str | None]


@dataclasses.dataclass(frozen=True)
class Site:
    """An operation in its graph."""

    model: TFLiteModel
    subgraph: Subgraph
    operation: Operation

    def input(self, place: int) -> Tensor | None:
        """Return the input at a place, None if it is absent."""
        inputs = self.operation.inputs
        if place >= len(inputs) or inputs[place] < 0:
            return None
        return self.subgraph.tensors[inputs[place]]

    @functools.cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs that are there."""
        return tuple(self.subgraph.tensors[i] for i in self.operation.inputs if i >= 0)

    @functools.cached_property
    def outputs(self) -> tuple[Tensor, ...]:
        """The outputs."""
        return tuple(self.subgraph.tensors[i] for i in self.operation.outputs if i >= 0)

    @property
    def first_input(self) -> Tensor:
        """The first input; a FlatbufferError where a damaged file has none."""
        return self._first(self.inputs, "input")

    @property
    def first_output(self) -> Tensor:
        """The first output; a FlatbufferError where a damaged file has none."""
        return self._first(self.outputs, "output")

    def _first(self, tensors: tuple[Tensor, ...], what: str) -> Tensor:
        if not tensors:
            raise FlatbufferError(f"{self} has no {what}: the file is damaged")
        return tensors[0]

    @property
    def values(self) -> tuple[Tensor, ...]:
        """What is computed: outputs, and inputs that are neither constant nor kept between runs."""
        fed = (t for t in self.inputs if not t.constant and not t.variable)
        return (*fed, *self.outputs)

    def constant(self, place: int) -> np.ndarray | None:
        """Return the value of a constant input, None if it is absent or computed."""
        tensor = self.input(place)
        if tensor is None or not tensor.constant:
            return None
        return constant_value(self.model, tensor)

    def __str__(self) -> str:
        text = f"operation {self.operation.index} {self.operation.label}"
        for tensor in (*self.outputs, *self.inputs)[:1]:
            layer = layer_scope(tensor.name)
            text += f" (tensor {tensor.name!r}" + (f", layer {layer!r})" if layer else ")")
        return text


def broken_rules(site: Site, rules: dict[str, Any]) -> list[str]:
    """Return why an operation breaks each of the rules that it breaks."""
    unknown = sorted(set(rules) - set(RULES))
    if unknown:
        raise ValueError(f"Unknown rules. Supported: {sorted(RULES)}. Received: {unknown}")
    reasons = (RULES[name](site, value) for name, value in rules.items())
    return [reason for reason in reasons if reason is not None]


def _of_each_value(check: Callable[[Tensor, Any], str | None]) -> Rule:
    """Make a rule of a check of each value that is computed."""

    @functools.wraps(check)
    def rule(site: Site, argument: Any) -> str | None:
        reasons = (check(tensor, argument) for tensor in site.values)
        return next((reason for reason in reasons if reason is not None), None)

    return rule


@_of_each_value
def allowed_types(tensor: Tensor, dtypes: Iterable[str]) -> str | None:
    """Every value that is computed has one of these types."""
    if tensor.dtype in dtypes:
        return None
    return f"computes on {tensor.dtype} ({tensor.name!r}); supported: {', '.join(dtypes)}"


@_of_each_value
def static_shapes(tensor: Tensor, _: bool) -> str | None:
    """No dimension is free until run time, but for a batch that the file itself sets to 1."""
    batch_is_one = tensor.shape[:1] == (1,)
    if -1 not in (*tensor.shape, *tensor.shape_signature[batch_is_one:]):
        return None
    return f"has a shape that is free at run time: {tensor.name!r} {tensor.shape_signature}"


@_of_each_value
def innermost_dimensions(tensor: Tensor, maximum: int) -> str | None:
    """Only so many innermost dimensions exceed 1."""
    if all(side <= 1 for side in tensor.shape[: max(0, len(tensor.shape) - maximum)]):
        return None
    shape = f"{tensor.name!r} has shape {tensor.shape}"
    return f"has a batch, or more than {maximum} dimensions above 1: {shape}"


@_of_each_value
def max_rank(tensor: Tensor, maximum: int) -> str | None:
    """Tensors have at most so many dimensions."""
    rank = len(tensor.shape)
    return f"has {rank} dimensions, at most {maximum} are supported" if rank > maximum else None


@_of_each_value
def quantized(tensor: Tensor, _: bool) -> str | None:
    """Every value has a scale."""
    known = tensor.quantization is not None
    return None if known else f"computes on {tensor.name!r}, which has no scale"


def constant_parameters(site: Site, _: bool) -> str | None:
    """Kernels, biases, slopes and shapes are stored in the file."""
    for place in _KERNEL_INPUTS.get(site.operation.name, ()):
        tensor = site.input(place)
        if tensor is not None and not tensor.constant:
            return f"takes the parameter {tensor.name!r} from the graph; it must be constant"
    return None


def no_sparse_constants(site: Site, _: bool) -> str | None:
    """Constants are stored dense."""
    sparse = [tensor.name for tensor in site.inputs if tensor.sparse]
    return f"has a sparse constant, {sparse[0]!r}" if sparse else None


def max_release(site: Site, release: str) -> str | None:
    """The operation's version is no newer than a release."""
    version = site.operation.version
    oldest = oldest_runtime(site.operation.name, version)
    if oldest is None or version_key(oldest) > version_key(release):
        since = "is not known" if oldest is None else f"came with {oldest}"
        return f"has version {version}, which {since}; supported: up to {release}"
    return None


def max_version(site: Site, maximum: int) -> str | None:
    """The operation's version is at most this."""
    if site.operation.version > maximum:
        return f"has version {site.operation.version}, at most {maximum} is supported"
    return None


def same_dilation(site: Site, _: bool) -> str | None:
    """Dilation is the same along x and y."""
    options = site.operation.options
    x, y = options.get("dilation_w_factor", 1), options.get("dilation_h_factor", 1)
    return None if x == y else f"has dilation {y} along y and {x} along x; they must be equal"


def constant_input_is_zero_padding(site: Site, _: bool) -> str | None:
    """A constant input is zeros, beside one other input."""
    constants = [tensor for tensor in site.inputs if tensor.constant]
    if not constants:
        return None
    if len(site.inputs) != 2:
        return f"joins the constant {constants[0].name!r} with more than one other input"
    zero_point = constants[0].quantization.zero_points[0] if constants[0].quantization else 0
    if (constant_value(site.model, constants[0]) != zero_point).any():
        return f"joins the constant {constants[0].name!r}, which is not all zero"
    return None


def one_dimensional_slope(site: Site, _: bool) -> str | None:
    """A PReLU has one slope a channel (Keras: shared_axes=[1, 2])."""
    slope = site.input(1)
    if slope is None or math.prod(slope.shape[:-1]) == 1:
        return None
    return f"has slopes of shape {slope.shape}; one per channel is supported (shared_axes=[1, 2])"


def max_elements(site: Site, maximum: int) -> str | None:
    """The input has at most so many values."""
    size = math.prod(site.first_input.shape)
    return f"takes {size} values, at most {maximum} are supported" if size > maximum else None


def max_bytes(site: Site, maximum: int) -> str | None:
    """Inputs and outputs fit into the device's own memory together."""
    size = sum(math.prod(t.shape) * bits_per_value(t.dtype) // 8 for t in site.values)
    return f"moves {size} bytes, at most {maximum} fit into its memory" if size > maximum else None


def max_interpolation_steps(site: Site, maximum: int) -> str | None:
    """Bilinear weights, multiples of 1 / (y ratio * x ratio), are exact in a signed byte."""
    before, after = site.first_input.shape, site.first_output.shape
    if len(before) != 4 or len(after) != 4 or before == after:
        return None
    aligned = site.operation.options.get("align_corners", False)
    steps = 1.0
    for old, new in zip(before[1:3], after[1:3], strict=True):
        if aligned:
            steps *= max(new - 1, 1) / (old - 1) if old > 1 else math.inf
        else:
            steps *= new / max(old, 1)
    if steps > maximum:
        return (
            f"resizes {before[1]}x{before[2]} to {after[1]}x{after[2]}, "
            "more than it can interpolate precisely"
        )
    return None


def axis_is_not_batch(site: Site, place: int) -> str | None:
    """The axis, a constant input at a place, is not the first dimension."""
    axes = site.constant(place)
    data = site.input(0 if place else 1)
    if axes is None or data is None:
        return None
    rank = max(1, len(data.shape))
    return "works along the batch" if (np.ravel(axes) % rank == 0).any() else None


def axis_option_is_not_batch(site: Site, _: bool) -> str | None:
    """The axis, an option, is not the first dimension of the output."""
    axis = site.operation.options.get("axis", 0)
    rank = max(1, len(site.first_output.shape))
    return "works along the batch" if axis % rank == 0 else None


def reduced_depth_multiple(site: Site, multiple: int) -> str | None:
    """A reduction over the depth needs a depth that is a multiple."""
    axes, data = site.constant(1), site.input(0)
    if axes is None or data is None or not data.shape:
        return None
    rank = len(data.shape)
    if rank - 1 in np.ravel(axes) % rank and data.shape[-1] % multiple:
        return f"reduces a depth of {data.shape[-1]}, which is no multiple of {multiple}"
    return None


def batch_is_not_padded(site: Site, _: bool) -> str | None:
    """The first dimension is not padded."""
    pads = site.constant(1)
    if pads is None or pads.ndim != 2 or not len(pads) or not pads[0].any():
        return None
    return "pads the batch"


def unit_strides(site: Site, _: bool) -> str | None:
    """All strides are 1."""
    strides = site.constant(3)
    if strides is None or (strides == 1).all():
        return None
    return f"has strides {strides.tolist()}; only 1 is supported"


def no_axis_masks(site: Site, _: bool) -> str | None:
    """The slice neither adds axes nor has an ellipsis."""
    options = site.operation.options
    used = [name for name in ("ellipsis_mask", "new_axis_mask") if options.get(name, 0)]
    return f"uses {' and '.join(used)}" if used else None


def ranks(site: Site, supported: list[int]) -> str | None:
    """The input has one of these numbers of dimensions."""
    rank = len(site.first_input.shape)
    if rank in supported:
        return None
    return f"takes {rank} dimensions; supported: {', '.join(map(str, supported))}"


def constant_axis(site: Site, place: int) -> str | None:
    """The axes, an input at a place, are stored in the file as INT32."""
    axes = site.input(place)
    if axes is not None and axes.constant and axes.dtype == "INT32":
        return None
    return "takes its axes from the graph; they must be INT32 constants"


def _option(name: str, supported: Any, reason: str) -> Rule:
    """Make a rule: an option of the operation has its default, the only value supported."""

    def rule(site: Site, _: bool) -> str | None:
        value = site.operation.options.get(name, supported)
        return None if value == supported else reason.format(value)

    return rule


def _vector(side: str, verb: str) -> Rule:
    """Make a rule: the first input or output is one vector."""

    def rule(site: Site, _: bool) -> str | None:
        tensor: Tensor = getattr(site, side)
        if math.prod(tensor.shape[:-1]) <= 1:
            return None
        return f"{verb} {tensor.name!r} of shape {tensor.shape}; one vector is supported"

    return rule


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        static_shapes, innermost_dimensions, max_rank, constant_parameters, quantized,
        no_sparse_constants, max_release, max_version, same_dilation,
        constant_input_is_zero_padding, one_dimensional_slope, max_elements, max_bytes,
        max_interpolation_steps, axis_is_not_batch, axis_option_is_not_batch,
        reduced_depth_multiple, batch_is_not_padded, unit_strides, no_axis_masks, ranks,
        constant_axis,
    )
} | {
    "default_weights_format": _option("weights_format", "DEFAULT", "has weights in the format {}"),
    "no_fused_activation": _option(
        "fused_activation_function", "NONE", "has a fused activation, {}"
    ),
    "no_shrunk_axes": _option("shrink_axis_mask", 0, "takes an axis away (shrink_axis_mask)"),
    "one_dimensional_input": _vector("first_input", "takes"),
    "one_dimensional_output": _vector("first_output", "gives"),
    "reflected_padding": _option("mode", "REFLECT", "pads in mode {}; only REFLECT is supported"),
    "unit_beta": _option("beta", 1, "scales its logits by {:g}; only 1 is supported"),
}  # fmt: skip
