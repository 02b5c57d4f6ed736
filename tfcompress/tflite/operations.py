"""What the built-in kernels of LiteRT 2.3 take: types, scales, weights, and operation versions.

Whether an operation runs with integers is a property of its kernel, found in its ``Prepare``
function. Which version says so in the file is what the converter's ``op_version.cc`` says; where
that falls back to 1 for integers that only a later kernel takes, the version is the kernel's.

Source: tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc and tensorflow/lite/kernels
in https://github.com/tensorflow/tensorflow
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_BOTH = ("INT8", "INT16")
_COMPARISONS = ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")


@dataclasses.dataclass(frozen=True)
class Operand:
    """What an operation's version depends on in a tensor that it reads or writes."""

    dtype: str  # the schema's type, such as "INT8"
    shape: tuple[int, ...] = ()
    scales: tuple[float, ...] = ()  # its scales, none for real numbers
    sparse: bool = False  # whether its values are a sparse encoding


Operands = Sequence[Operand | None]
_Rule = Callable[[Operands, Operands, Any, int], int]


@dataclasses.dataclass(frozen=True)
class Support:
    """What the kernels of one operation take.

    Real-valued inputs and outputs are those that are FLOAT32 in the float file; indices, shapes and
    conditions keep their types.
    """

    name: str  # the built-in operation
    # The integer types of real-valued inputs and outputs that are computed correctly. FLOAT32
    # always is.
    activations: tuple[str, ...] = ()
    # Those of ``activations`` that only the default kernels compute correctly.
    default_only: tuple[str, ...] = ()
    # Those of ``activations`` whose kernel came without a version of its own: an older runtime
    # that knows the version may still reject the type.
    unversioned: tuple[str, ...] = ()
    # How the output's scale relates to the inputs': "own" (any), "same" (all real-valued inputs
    # and outputs have one scale and one zero point), "fixed" (as ``fixed`` says), or "none" (the
    # output is not a real number).
    output: str = "own"
    # By type, the (scale, zero point) of the output.
    fixed: Mapping[str, tuple[float, int]] = dataclasses.field(default_factory=dict)
    # The types with which all real-valued inputs must have one scale, whatever the output has.
    same_inputs: tuple[str, ...] = ()
    # The types with which zero points must be 0. With INT16 they always must.
    symmetric: tuple[str, ...] = ()
    # What the kernel rejects at run time: "nonnegative" (an integer below the zero point, so
    # that INT8 must have the zero point -128), "nonzero" (a divisor rounded to 0), None.
    domain: str | None = None
    data: int = 0  # the index of the activations that go with a kernel
    kernel: int | None = None  # the index of the input that holds weights, or None
    channel_axis: int | None = None  # the dimension of the kernel that scales can run along
    bias: int | None = None  # the index of the bias, or None
    # By the activations' type, the types of the bias. Its scale is the data's times the
    # kernel's, its zero point 0. A hybrid kernel has a FLOAT32 bias.
    biases: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    # By the activations' type ("FLOAT32" is the hybrid kernel: float activations times integer
    # weights), the types of the kernel. Zero points of weights are 0.
    weights: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    # The activations' types with which the kernel may have a scale per channel.
    per_channel: tuple[str, ...] = ()
    per_tensor: tuple[str, ...] = ()  # the activations' types with which it may have a single scale
    # The operation's version by the type of the deciding operand; 1 if not named.
    versions: Mapping[str, int] = dataclasses.field(default_factory=dict)
    decided_by: int = 0  # the index of that input
    rule: _Rule | None = None  # what else the version depends on


def support(name: str) -> Support | None:
    """Look up what an operation's kernel takes.

    Returns:
        The entry; None if the table does not know the operation.
    """
    return _TABLE.get(name)


def names() -> tuple[str, ...]:
    """List the operations that the table knows, in the order of the alphabet."""
    return tuple(sorted(_TABLE))


def runs_with(name: str, dtype: str, reference: bool = False) -> bool:
    """Return whether an operation computes the right thing on activations of a type."""
    if dtype == "FLOAT32":
        return True
    entry = _TABLE.get(name)
    if entry is None or dtype not in entry.activations:
        return False
    return not (reference and dtype in entry.default_only)


def weight_types(name: str, activations: str) -> tuple[str, ...]:
    """List the types that an operation's kernel input can have, integers alone.

    Returns:
        The types, such as ("INT8", "INT4"); empty if the operation has no kernel input, or none
        with such activations.
    """
    entry = _TABLE.get(name)
    return () if entry is None else tuple(entry.weights.get(activations, ()))


def accepts_scales(name: str, dtype: str, inputs: Sequence[float], output: float) -> bool:
    """Return whether a kernel can compute from one set of scales to another.

    ADD and SQUARED_DIFFERENCE bring their inputs to twice the larger scale, shifted up, and end the
    process where the output's scale is finer than what the shift leaves. Comparisons of unequal
    scales end it where one is 1, and give wrong answers where one is more.
    """
    if name == "ADD":
        shift = {"INT8": 20, "INT16": 15}[dtype]
        return 2 * max(inputs) < output * 2**shift
    if name == "SQUARED_DIFFERENCE":
        return (2 * max(inputs)) ** 2 < output * 2**14
    if name in _COMPARISONS:
        return len(set(inputs)) == 1 or max(inputs) < 1.0
    return True


def version(name: str, inputs: Operands, outputs: Operands, options: Any = None) -> int:
    """Return the version of an operation that a runtime must have to run it on given operands."""
    entry = _TABLE.get(name)
    if entry is None:
        return 1
    present = [operand for operand in inputs if operand is not None]
    decides = inputs[entry.decided_by] if entry.decided_by < len(inputs) else None
    decides = decides or (present or list(outputs))[0]
    number = entry.versions.get(decides.dtype, 1)
    return number if entry.rule is None else entry.rule(inputs, outputs, options, number)


def _option(options: Any, field: str, default=0):
    """Read an option; a file may leave out those that are the schema's defaults."""
    return getattr(options, field, default) or default


def _rank(operand: Operand | None) -> int:
    return 0 if operand is None else len(operand.shape)


def _types(inputs: Operands, outputs: Operands) -> tuple[str, str, str]:
    """Name the types of the activations, the weights and the output."""
    return inputs[0].dtype, inputs[1].dtype, outputs[0].dtype


def _has_narrow_bias(options: Any) -> bool:
    """Return whether 16-bit activations go with a 32-bit bias, by an option of its own."""
    return bool(_option(options, "quantizedBiasType"))


def _convolution(inputs, outputs, options, _):
    data, weights, result = _types(inputs, outputs)
    if data == "INT16" and _has_narrow_bias(options):
        return 8
    kernel, image = inputs[1].shape, inputs[0].shape
    if len(kernel) == 4 and len(image) == 4 and kernel[3] != image[3] and weights != "INT4":
        return 6  # grouped
    if weights == "INT4":
        return 7
    if data == result == "INT16":
        return 4
    if data == "INT8":
        return 3
    if weights == "INT8":
        return 5 if len(inputs[1].scales) > 1 else 2
    return 1


def _depthwise_convolution(inputs, outputs, options, _):
    data, weights, result = _types(inputs, outputs)
    if data == result == "INT16":
        return 5
    if weights == "INT4":
        return 7
    if data == "INT8":
        return 3
    if weights == "INT8":
        return 6 if len(inputs[1].scales) > 1 else 4
    dilated = {_option(options, f"dilation{side}Factor", 1) for side in ("W", "H")} != {1}
    return 2 if dilated else 1


def _transposed_convolution(inputs, outputs, options, _):
    data = inputs[2].dtype
    if data == "INT16" and _has_narrow_bias(options):
        return 5
    if _option(options, "fusedActivationFunction"):
        return 4
    if len(inputs) > 3 and inputs[3] is not None:
        return 3
    return 2 if inputs[1].dtype != "FLOAT32" else 1


def _fully_connected(inputs, outputs, options, _):
    data, weights, result = _types(inputs, outputs)
    if weights == "INT2":
        return 14
    if data == "INT16" and weights == "INT4":
        return 13
    if (data, weights) == ("FLOAT32", "INT8") and len(inputs[1].scales) > 1:
        return 12
    if data == "INT16" and _has_narrow_bias(options):
        return 11
    if weights == "INT4":
        return 10
    if inputs[1].sparse:
        return 8
    if data == result == "INT16":
        return 7
    if (data, weights) == ("FLOAT32", "INT8") and _option(options, "asymmetricQuantizeInputs"):
        return 9
    if len(inputs) == 2:
        return 6
    if _option(options, "keepNumDims"):
        return 5
    if data == "INT8":
        return 4
    if weights == "INT8":
        return 3
    return 2 if _option(options, "weightsFormat") else 1


def _batch_matmul(inputs, outputs, options, number):
    hybrid = inputs[0].dtype == "FLOAT32" and inputs[1].dtype == "INT8"
    return 4 if hybrid and _option(options, "asymmetricQuantizeInputs") else number


def _embedding(inputs, outputs, options, _):
    if inputs[1].dtype == "INT2":
        return 5
    return 4 if inputs[1].dtype == "INT4" or len(inputs[1].scales) > 1 else 1


def _lstm(inputs, outputs, options, _):
    data, weights = inputs[0].dtype, inputs[2].dtype
    if data == "INT16":
        return 5
    if _option(options, "diagonalRecurrentTensors"):
        return 4
    if (data, weights) == ("FLOAT32", "INT8"):
        return 3 if _option(options, "asymmetricQuantizeInputs") else 2
    return 1


def _gather(inputs, outputs, options, number):
    if inputs[0].dtype == "INT4":
        return 7
    if inputs[1].dtype == "INT16":
        return 6
    return 5 if _option(options, "batchDims") else number


def _multiply(inputs, outputs, options, number):
    if inputs[0].dtype != "INT8":
        return number
    scales = [operand.scales[0] for operand in (*inputs, *outputs) if operand and operand.scales]
    large = len(scales) == 3 and scales[0] * scales[1] / scales[2] >= 1.0
    return 3 if large else number


def _transpose(inputs, outputs, options, number):
    rank = _rank(inputs[0])
    if rank > 5:
        return 8 if rank > 6 else 6
    return max(number, 4 if rank > 4 else 1)


def _above_rank_4(number_above: int, keeps: tuple[str, ...] = ()) -> _Rule:
    """Ask for a version of its own above four dimensions, but for types that keep theirs."""

    def rule(inputs, outputs, options, number):
        if inputs[0].dtype in keeps or _rank(inputs[0]) <= 4:
            return number
        return number_above

    return rule


def _broadcast_above_rank_4(number_above: int, keeps: tuple[str, ...] = ()) -> _Rule:
    """Ask for a version of its own where more than four dimensions are broadcast."""

    def rule(inputs, outputs, options, number):
        first, second = inputs[:2]
        rank = max(_rank(first), _rank(second))
        if first.dtype in keeps or first.shape == second.shape or rank <= 4:
            return number
        return number_above

    return rule


def _strided_slice(inputs, outputs, options, number):
    if _option(options, "offset"):
        return 8
    if _option(options, "ellipsisMask") or _option(options, "newAxisMask"):
        return 6
    return 4 if _rank(inputs[0]) > 4 else number


def _space_and_batch(inputs, outputs, options, number):
    return 3 if inputs[0].dtype != "INT16" and _rank(inputs[0]) != 4 else number


def _resize(*fields: str) -> _Rule:
    """Ask for version 3 where the corners or the centers of pixels are moved."""

    def rule(inputs, outputs, options, number):
        moved = any(_option(options, field) for field in fields)
        return 3 if moved and inputs[0].dtype != "INT16" else number

    return rule


def _select(inputs, outputs, options, number):
    return 3 if any(_rank(operand) == 5 for operand in inputs) else number


def _quantize(inputs, outputs, options, _):
    if "INT4" in (inputs[0].dtype, outputs[0].dtype):
        return 4
    if len(outputs[0].scales) > 1:
        return 3
    return 2 if outputs[0].dtype == "INT16" or inputs[0].dtype == "INT16" else 1


def _dequantize(inputs, outputs, options, number):
    return 5 if inputs[0].dtype == "INT8" and len(inputs[0].scales) > 1 else number


def _cast(inputs, outputs, options, _):
    used = {inputs[0].dtype, outputs[0].dtype}
    ordered = {"INT2": 8, "BFLOAT16": 7, "INT4": 6, "FLOAT64": 5, "FLOAT16": 5, "UINT16": 4}
    ordered |= {"INT8": 3, "UINT32": 2}
    return next((number for dtype, number in ordered.items() if dtype in used), 1)


_ALL = (*_BOTH, "FLOAT32")
_V2 = {"INT8": 2}
_V2_V3 = {"INT8": 2, "INT16": 3}
_V2_V4 = {"INT8": 2, "INT16": 4}
_V2_V2 = {"INT8": 2, "INT16": 2}
_UNIT = {"INT8": (1 / 256, -128), "INT16": (1 / 32768, 0)}  # from 0 to 1
_SIGNED_UNIT = {"INT8": (1 / 128, 0), "INT16": (1 / 32768, 0)}  # from -1 to 1
_BIASES = {"INT8": ("INT32",), "INT16": ("INT64", "INT32")}
_WEIGHTS = dict.fromkeys(_ALL, ("INT8",))
_NARROW_WEIGHTS = dict.fromkeys(_ALL, ("INT8", "INT4"))


def _alike(names: str, *activations, **settings) -> list[Support]:
    """Return an entry for each of the operations that have the same support."""
    return [Support(name, *activations, **settings) for name in names.split()]


_ENTRIES = (
    # Products with weights.
    Support(
        "CONV_2D",
        _BOTH,
        kernel=1,
        channel_axis=0,
        bias=2,
        biases=_BIASES,
        weights=_NARROW_WEIGHTS,
        per_channel=_ALL,
        per_tensor=_ALL,
        rule=_convolution,
    ),
    Support(
        "DEPTHWISE_CONV_2D",
        _BOTH,
        kernel=1,
        channel_axis=3,
        bias=2,
        biases={"INT8": ("INT32",), "INT16": ("INT64",)},
        weights=_WEIGHTS | {"INT8": ("INT8", "INT4")},
        per_channel=_ALL,
        per_tensor=_BOTH,
        rule=_depthwise_convolution,
    ),
    Support(
        "TRANSPOSE_CONV",
        _BOTH,
        data=2,
        kernel=1,
        channel_axis=0,
        bias=3,
        biases=_BIASES,
        weights=_WEIGHTS,
        per_channel=_ALL,
        per_tensor=_ALL,
        rule=_transposed_convolution,
    ),
    Support(
        "FULLY_CONNECTED",
        _BOTH,
        kernel=1,
        channel_axis=0,
        bias=2,
        biases=_BIASES,
        weights=dict.fromkeys(_ALL, ("INT8", "INT4", "INT2")),
        per_channel=_ALL,
        per_tensor=_ALL,
        rule=_fully_connected,
    ),
    Support(
        "BATCH_MATMUL",
        _BOTH,
        kernel=1,
        weights=_WEIGHTS | {"INT16": ("INT8", "INT16")},
        per_tensor=_ALL,
        versions=_V2_V3,
        rule=_batch_matmul,
    ),
    # A table of integers gives the same integers, or floats.
    Support(
        "EMBEDDING_LOOKUP",
        _BOTH,
        output="same",
        data=1,
        kernel=1,
        channel_axis=0,
        weights={"INT8": ("INT8",), "INT16": ("INT16",), "FLOAT32": ("INT8", "INT4", "INT2")},
        per_channel=("FLOAT32",),
        per_tensor=_ALL,
        rule=_embedding,
    ),
    # Weights at 1 to 8, biases at 12 to 15, the hidden state at 18, the cell state at 19.
    Support(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        ("INT8",),
        weights={"INT8": ("INT8",), "FLOAT32": ("INT8",)},
        per_tensor=("INT8", "FLOAT32"),
        rule=_lstm,
    ),
    Support("CONV_3D", kernel=1, channel_axis=4, bias=2),
    Support("CONV_3D_TRANSPOSE", data=2, kernel=1, channel_axis=3, bias=3),
    # Element by element, and reductions.
    *_alike("ADD ABS RELU RELU6 MEAN", _BOTH, versions=_V2_V3),
    *_alike("EXP LOG REDUCE_PROD", _BOTH, versions=_V2_V2),
    *_alike("PRELU RELU_N1_TO_1 RELU_0_TO_1 HARD_SWISH", ("INT8",)),
    *_alike(
        "MAXIMUM MINIMUM",
        _BOTH,
        output="same",
        versions=_V2_V4,
        rule=_broadcast_above_rank_4(3, ("INT16",)),
    ),
    Support(
        "SUB", _BOTH, versions={"INT8": 2, "INT16": 5}, rule=_broadcast_above_rank_4(3, ("INT16",))
    ),
    Support("MUL", _BOTH, versions=_V2_V4, rule=_multiply),
    Support("DIV", _BOTH, unversioned=_BOTH, domain="nonzero", rule=_broadcast_above_rank_4(2)),
    Support("SQUARED_DIFFERENCE", ("INT8",), versions=_V2),
    Support("FLOOR_DIV", versions={"INT8": 3, "INT16": 3, "FLOAT32": 2}),
    Support("FLOOR_MOD", versions=_V2_V2),
    Support("LEAKY_RELU", _BOTH, versions={"INT16": 2}),
    Support("ELU", ("INT8",), default_only=("INT8",)),
    Support("GELU", _BOTH, unversioned=("INT16",), versions=_V2),
    *_alike("LOGISTIC SOFTMAX", _BOTH, output="fixed", fixed=_UNIT, versions=_V2_V3),
    Support("TANH", _BOTH, output="fixed", fixed=_SIGNED_UNIT, versions=_V2_V3),
    Support("LOG_SOFTMAX", ("INT8",), output="fixed", fixed={"INT8": (1 / 16, 127)}, versions=_V2),
    Support(
        "L2_NORMALIZATION", ("INT8",), output="fixed", fixed={"INT8": (1 / 128, 0)}, versions=_V2
    ),
    Support("SQRT", _BOTH, domain="nonnegative", versions=_V2_V2),
    Support("RSQRT", _BOTH, domain="nonnegative", versions=_V2_V3),
    Support("SUM", _BOTH, default_only=_BOTH, versions=_V2),
    Support("CAST", output="none", rule=_cast),
    # Windows, images, and moves of values.
    *_alike("RESHAPE SQUEEZE EXPAND_DIMS SELECT_V2", _BOTH, output="same"),
    *_alike(
        "REDUCE_MAX REDUCE_MIN TOPK_V2 AVERAGE_POOL_2D MAX_POOL_2D MIRROR_PAD CONCATENATION PACK",
        _BOTH,
        output="same",
        versions=_V2_V3,
    ),
    *_alike("PAD PADV2", _BOTH, output="same", versions=_V2_V3, rule=_above_rank_4(4)),
    *_alike(
        "SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND",
        _BOTH,
        output="same",
        versions=_V2_V4,
        rule=_space_and_batch,
    ),
    Support(
        "RESIZE_BILINEAR", _BOTH, output="same", versions=_V2_V4, rule=_resize("halfPixelCenters")
    ),
    Support(
        "RESIZE_NEAREST_NEIGHBOR",
        _BOTH,
        output="same",
        versions=_V2_V4,
        rule=_resize("halfPixelCenters", "alignCorners"),
    ),
    Support("SPACE_TO_DEPTH", ("INT8",), output="same", versions=_V2),
    Support("DEPTH_TO_SPACE", ("INT8",), default_only=("INT8",), output="same", versions=_V2),
    Support("TRANSPOSE", _BOTH, output="same", versions={"INT8": 2, "INT16": 5}, rule=_transpose),
    Support("UNPACK", _BOTH, output="same", versions=_V2_V4),
    Support("SPLIT", _BOTH, output="same", versions=_V2_V4, decided_by=1),
    Support("SPLIT_V", _BOTH, output="same", versions=_V2),
    Support("SLICE", _BOTH, output="same", versions=_V2_V4, rule=_above_rank_4(5)),
    Support("STRIDED_SLICE", _BOTH, output="same", versions=_V2, rule=_strided_slice),
    Support("GATHER", _BOTH, output="same", versions=_V2_V4, rule=_gather),
    Support("GATHER_ND", _BOTH, output="same", versions={"INT16": 3}),
    Support("SCATTER_ND", ("INT8",), output="same", symmetric=("INT8",), decided_by=1),
    Support("TILE", _BOTH, default_only=("INT8",), output="same", versions={"INT8": 3}),
    Support("BROADCAST_TO", _BOTH, output="same", versions={"INT8": 3, "INT16": 3, "FLOAT32": 2}),
    Support("REVERSE_V2", _BOTH, output="same", versions={"INT8": 3}),
    Support("REVERSE_SEQUENCE", ("INT16",), output="same"),
    Support("SELECT", _BOTH, output="same", versions=_V2, decided_by=1, rule=_select),
    Support(
        "FILL", _BOTH, output="same", versions={"INT8": 3, "INT16": 3, "FLOAT16": 4}, decided_by=1
    ),
    Support("DYNAMIC_UPDATE_SLICE", _BOTH, output="same", versions={"INT16": 4}),
    Support("ONE_HOT", ("INT8",), output="same", decided_by=2),
    # Results that are not real numbers.
    *_alike("ARG_MAX ARG_MIN", ("INT8",), output="none", versions=_V2),
    *_alike("SHAPE RANK", _BOTH, output="none"),
    *_alike("REDUCE_ALL REDUCE_ANY", output="none"),
    *_alike("LESS GREATER_EQUAL", _BOTH, output="none", same_inputs=("INT16",), versions=_V2_V3),
    *_alike(
        "LESS_EQUAL GREATER",
        _BOTH,
        output="none",
        same_inputs=("INT16",),
        versions=_V2,
        unversioned=("INT16",),
    ),
    Support("EQUAL", _BOTH, output="none", versions={"INT8": 2, "INT16": 5}),
    Support("NOT_EQUAL", _BOTH, output="none", versions=_V2_V4),
    # Between types.
    Support("QUANTIZE", _BOTH, rule=_quantize),
    Support(
        "DEQUANTIZE",
        _BOTH,
        versions={"INT8": 2, "INT16": 3, "FLOAT16": 3, "INT4": 6, "INT2": 7},
        rule=_dequantize,
    ),
    # Floats only.
    *_alike("POW ATAN2 NEG SQUARE SIN COS SIGN FLOOR CEIL ROUND CUMSUM ZEROS_LIKE"),
    *_alike("LOCAL_RESPONSE_NORMALIZATION L2_POOL_2D"),
)
_TABLE = {entry.name: entry for entry in _ENTRIES}
