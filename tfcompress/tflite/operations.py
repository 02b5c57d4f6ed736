"""What the built-in kernels of LiteRT 2.3 take: types, scales, weights, and operation versions.

Whether an operation runs with integers is a property of its kernel, found in its ``Prepare``
function. Which version says so in the file is what the converter's ``op_version.cc`` says; where
that falls back to 1 for integers that only a later kernel takes, the version is the kernel's.

Source: tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc and tensorflow/lite/kernels
in https://github.com/tensorflow/tensorflow
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# These copy from what they read and have its grid: where that is rounded, they are.
COPIES = frozenset(
    {
        *("BATCH_TO_SPACE_ND", "BROADCAST_TO", "DEPTH_TO_SPACE", "EXPAND_DIMS", "GATHER"),
        *("GATHER_ND", "MAX_POOL_2D", "MIRROR_PAD", "PAD", "PADV2", "REDUCE_MAX", "REDUCE_MIN"),
        *("RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SLICE", "SPACE_TO_BATCH_ND"),
        *("SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TOPK_V2"),
        *("TRANSPOSE", "UNPACK"),
    }
)

# What rectifiers limit values to, as operations and as fused activations.
BOUNDS = {
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU_0_TO_1": (0.0, 1.0),
}
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
    # Versions that a use asks for beside its types: that of the first condition that holds.
    special: "_Versions" = dataclasses.field(default_factory=dict)


def support(name: str) -> Support | None:
    """Look up what an operation's kernel takes; None if the table does not know the operation."""
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
    """List the integer types that an operation's kernel input can have, if it has one."""
    entry = _TABLE.get(name)
    return () if entry is None else tuple(entry.weights.get(activations, ()))


def finest_step(name: str, dtype: str) -> tuple[float, int] | None:
    """Return (factor, power): a kernel's output needs a scale above factor * scale read ** power.

    None if it may have any. ADD and SQUARED_DIFFERENCE bring their inputs to twice the larger
    scale, shifted up, and end the process where the output's is finer than what the shift leaves.
    """
    if name == "ADD":
        return 2.0 / 2 ** {"INT8": 20, "INT16": 15}[dtype], 1
    return (4.0 / 2**14, 2) if name == "SQUARED_DIFFERENCE" else None


def accepts_scales(name: str, dtype: str, inputs: Sequence[float], output: float) -> bool:
    """Return whether a kernel can compute from one set of scales to another.

    Comparisons of unequal scales end the process where one is 1, and give wrong answers where one
    is more. See also ``finest_step``.
    """
    if name in _COMPARISONS:
        return len(set(inputs)) == 1 or max(inputs) < 1.0
    factor, power = finest_step(name, dtype) or (0.0, 1)
    return not factor or output > factor * max(inputs) ** power


def version(name: str, inputs: Operands, outputs: Operands, options: Any = None) -> int:
    """Return the version of an operation that a runtime must have to run it on given operands."""
    entry = _TABLE.get(name)
    if entry is None:
        return 1
    decides = inputs[entry.decided_by] if entry.decided_by < len(inputs) else None
    decides = decides or next(o for o in (*inputs, *outputs) if o is not None)
    use = _Use(inputs, outputs, options)
    special = (number for number, holds in entry.special.items() if holds(use))
    return next(special, entry.versions.get(decides.dtype, 1))


@dataclasses.dataclass(frozen=True)
class _Use:
    """A use of an operation, as the conditions of versions see it."""

    # Conditions read only operands that their operation always has.
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    options: Any

    def option(self, field: str) -> Any:
        """Read an option; a file may leave out those that are the schema's defaults."""
        return getattr(self.options, field, 0)

    def rank(self, place: int = 0) -> int:
        """Return the number of dimensions of an input."""
        return 0 if self.inputs[place] is None else len(self.inputs[place].shape)

    @property
    def data(self) -> str:
        """The type of the first input."""
        return str(self.inputs[0].dtype)

    @property
    def weights(self) -> str:
        """The type of the second input."""
        return str(self.inputs[1].dtype)

    @property
    def types(self) -> tuple[str, str]:
        """The types of the first input and of the output."""
        return self.data, self.outputs[0].dtype

    def hybrid(self, weights: int = 1) -> bool:
        """Return whether float activations are multiplied by 8-bit weights, an input."""
        return self.data == "FLOAT32" and self.inputs[weights].dtype == "INT8"

    @property
    def per_channel(self) -> bool:
        """Whether the weights have a scale per channel."""
        return len(self.inputs[1].scales) > 1

    @property
    def grouped(self) -> bool:
        """Whether a convolution has groups."""
        data, kernel = (operand.shape for operand in self.inputs[:2])
        return len(data) == len(kernel) == 4 and data[3] != kernel[3]

    @property
    def dilated(self) -> bool:
        """Whether a convolution is dilated."""
        return any((self.option(f"dilation{side}Factor") or 1) != 1 for side in "WH")

    @property
    def enlarges(self) -> bool:
        """Whether a product of integers is multiplied by 1 or more."""
        used = [operand for operand in (*self.inputs, *self.outputs) if operand and operand.scales]
        scales = [operand.scales[0] for operand in used]
        return len(scales) == 3 and scales[0] * scales[1] / scales[2] >= 1.0


# The version that a use asks for: that of the first condition that holds, if any does.
_Versions = Mapping[int, Callable[[_Use], Any]]

_CONV_2D: _Versions = {
    8: lambda use: use.data == "INT16" and use.option("quantizedBiasType"),
    7: lambda use: use.weights == "INT4",
    6: lambda use: use.grouped,
    4: lambda use: use.types == ("INT16", "INT16"),
    3: lambda use: use.data == "INT8",
    5: lambda use: use.weights == "INT8" and use.per_channel,
    2: lambda use: use.weights == "INT8",
}
_DEPTHWISE_CONV_2D: _Versions = {
    5: lambda use: use.types == ("INT16", "INT16"),
    7: lambda use: use.weights == "INT4",
    3: lambda use: use.data == "INT8",
    6: lambda use: use.weights == "INT8" and use.per_channel,
    4: lambda use: use.weights == "INT8",
    2: lambda use: use.dilated,
}
_TRANSPOSE_CONV: _Versions = {
    5: lambda use: use.inputs[2].dtype == "INT16" and use.option("quantizedBiasType"),
    4: lambda use: use.option("fusedActivationFunction"),
    3: lambda use: len(use.inputs) > 3 and use.inputs[3] is not None,
    2: lambda use: use.weights != "FLOAT32",
}
_FULLY_CONNECTED: _Versions = {
    14: lambda use: use.weights == "INT2",
    13: lambda use: use.data == "INT16" and use.weights == "INT4",
    12: lambda use: use.hybrid() and use.per_channel,
    11: lambda use: use.data == "INT16" and use.option("quantizedBiasType"),
    10: lambda use: use.weights == "INT4",
    8: lambda use: use.inputs[1].sparse,
    7: lambda use: use.types == ("INT16", "INT16"),
    9: lambda use: use.hybrid() and use.option("asymmetricQuantizeInputs"),
    6: lambda use: len(use.inputs) == 2,
    5: lambda use: use.option("keepNumDims"),
    4: lambda use: use.data == "INT8",
    3: lambda use: use.weights == "INT8",
    2: lambda use: use.option("weightsFormat"),
}
_EMBEDDING_LOOKUP: _Versions = {
    5: lambda use: use.weights == "INT2",
    4: lambda use: use.weights == "INT4" or use.per_channel,
}
_LSTM: _Versions = {
    5: lambda use: use.data == "INT16",
    4: lambda use: use.option("diagonalRecurrentTensors"),
    3: lambda use: use.hybrid(2) and use.option("asymmetricQuantizeInputs"),
    2: lambda use: use.hybrid(2),
}
_GATHER: _Versions = {
    7: lambda use: use.data == "INT4",
    6: lambda use: use.weights == "INT16",
    5: lambda use: use.option("batchDims"),
}
_TRANSPOSE: _Versions = {
    8: lambda use: use.rank() > 6,
    6: lambda use: use.rank() > 5,
    4: lambda use: use.rank() > 4 and use.data != "INT16",
}
_STRIDED_SLICE: _Versions = {
    8: lambda use: use.option("offset"),
    6: lambda use: use.option("ellipsisMask") or use.option("newAxisMask"),
    4: lambda use: use.rank() > 4,
}
_RESIZE_NEAREST: _Versions = {
    3: lambda use: (
        use.data != "INT16" and (use.option("halfPixelCenters") or use.option("alignCorners"))
    ),
}
_QUANTIZE: _Versions = {
    4: lambda use: "INT4" in use.types,
    3: lambda use: len(use.outputs[0].scales) > 1,
    2: lambda use: "INT16" in use.types,
}
_CAST: _Versions = {
    8: lambda use: "INT2" in use.types,
    7: lambda use: "BFLOAT16" in use.types,
    6: lambda use: "INT4" in use.types,
    5: lambda use: not {"FLOAT64", "FLOAT16"}.isdisjoint(use.types),
    4: lambda use: "UINT16" in use.types,
    3: lambda use: "INT8" in use.types,
    2: lambda use: "UINT32" in use.types,
}


def _broadcast_above_rank_4(number: int, keeps: str = "") -> _Versions:
    """Ask for a version where more than four dimensions are broadcast, but of a type for none."""
    return {
        number: lambda use: (
            use.data != keeps
            and use.inputs[0].shape != use.inputs[1].shape
            and max(use.rank(0), use.rank(1)) > 4
        )
    }


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


def _alike(names: str, *activations: Any, **settings: Any) -> list[Support]:
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
        special=_CONV_2D,
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
        special=_DEPTHWISE_CONV_2D,
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
        special=_TRANSPOSE_CONV,
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
        special=_FULLY_CONNECTED,
    ),
    Support(
        "BATCH_MATMUL",
        _BOTH,
        kernel=1,
        weights=_WEIGHTS | {"INT16": ("INT8", "INT16")},
        per_tensor=_ALL,
        versions=_V2_V3,
        special={4: lambda use: use.hybrid() and use.option("asymmetricQuantizeInputs")},
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
        special=_EMBEDDING_LOOKUP,
    ),
    # Weights at 1 to 8, biases at 12 to 15, the hidden state at 18, the cell state at 19.
    Support(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        ("INT8",),
        weights={"INT8": ("INT8",), "FLOAT32": ("INT8",)},
        per_tensor=("INT8", "FLOAT32"),
        special=_LSTM,
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
        special=_broadcast_above_rank_4(3, "INT16"),
    ),
    Support(
        "SUB",
        _BOTH,
        versions={"INT8": 2, "INT16": 5},
        special=_broadcast_above_rank_4(3, "INT16"),
    ),
    Support(
        "MUL",
        _BOTH,
        versions=_V2_V4,
        special={3: lambda use: use.data == "INT8" and use.enlarges},
    ),
    Support(
        "DIV",
        _BOTH,
        special=_broadcast_above_rank_4(2),
    ),
    Support("SQUARED_DIFFERENCE", ("INT8",), versions=_V2),
    Support("FLOOR_DIV", versions={"INT8": 3, "INT16": 3, "FLOAT32": 2}),
    Support("FLOOR_MOD", versions=_V2_V2),
    Support("LEAKY_RELU", _BOTH, versions={"INT16": 2}),
    Support("ELU", ("INT8",), default_only=("INT8",)),
    Support("GELU", _BOTH, versions=_V2),
    *_alike("LOGISTIC SOFTMAX", _BOTH, output="fixed", fixed=_UNIT, versions=_V2_V3),
    Support("TANH", _BOTH, output="fixed", fixed=_SIGNED_UNIT, versions=_V2_V3),
    Support("LOG_SOFTMAX", ("INT8",), output="fixed", fixed={"INT8": (1 / 16, 127)}, versions=_V2),
    Support(
        "L2_NORMALIZATION", ("INT8",), output="fixed", fixed={"INT8": (1 / 128, 0)}, versions=_V2
    ),
    Support("SQRT", _BOTH, versions=_V2_V2),
    Support("RSQRT", _BOTH, versions=_V2_V3),
    Support("SUM", _BOTH, default_only=_BOTH, versions=_V2),
    Support("CAST", output="none", special=_CAST),
    # Windows, images, and moves of values.
    *_alike("RESHAPE SQUEEZE EXPAND_DIMS SELECT_V2", _BOTH, output="same"),
    *_alike(
        "REDUCE_MAX REDUCE_MIN TOPK_V2 AVERAGE_POOL_2D MAX_POOL_2D MIRROR_PAD CONCATENATION PACK",
        _BOTH,
        output="same",
        versions=_V2_V3,
    ),
    *_alike(
        "PAD PADV2",
        _BOTH,
        output="same",
        versions=_V2_V3,
        special={4: lambda use: use.rank() > 4},
    ),
    *_alike(
        "SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND",
        _BOTH,
        output="same",
        versions=_V2_V4,
        special={3: lambda use: use.data != "INT16" and use.rank() != 4},
    ),
    Support(
        "RESIZE_BILINEAR",
        _BOTH,
        output="same",
        versions=_V2_V4,
        special={3: lambda use: use.data != "INT16" and use.option("halfPixelCenters")},
    ),
    Support(
        "RESIZE_NEAREST_NEIGHBOR",
        _BOTH,
        output="same",
        versions=_V2_V4,
        special=_RESIZE_NEAREST,
    ),
    Support("SPACE_TO_DEPTH", ("INT8",), output="same", versions=_V2),
    Support("DEPTH_TO_SPACE", ("INT8",), default_only=("INT8",), output="same", versions=_V2),
    Support(
        "TRANSPOSE",
        _BOTH,
        output="same",
        versions={"INT8": 2, "INT16": 5},
        special=_TRANSPOSE,
    ),
    Support("UNPACK", _BOTH, output="same", versions=_V2_V4),
    Support("SPLIT", _BOTH, output="same", versions=_V2_V4, decided_by=1),
    Support("SPLIT_V", _BOTH, output="same", versions=_V2),
    Support(
        "SLICE",
        _BOTH,
        output="same",
        versions=_V2_V4,
        special={5: lambda use: use.rank() > 4},
    ),
    Support("STRIDED_SLICE", _BOTH, output="same", versions=_V2, special=_STRIDED_SLICE),
    Support("GATHER", _BOTH, output="same", versions=_V2_V4, special=_GATHER),
    Support("GATHER_ND", _BOTH, output="same", versions={"INT16": 3}),
    Support("SCATTER_ND", ("INT8",), output="same", symmetric=("INT8",), decided_by=1),
    Support("TILE", _BOTH, default_only=("INT8",), output="same", versions={"INT8": 3}),
    Support("BROADCAST_TO", _BOTH, output="same", versions={"INT8": 3, "INT16": 3, "FLOAT32": 2}),
    Support("REVERSE_V2", _BOTH, output="same", versions={"INT8": 3}),
    Support("REVERSE_SEQUENCE", ("INT16",), output="same"),
    Support(
        "SELECT",
        _BOTH,
        output="same",
        versions=_V2,
        decided_by=1,
        special={3: lambda use: 5 in map(use.rank, range(3))},
    ),
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
    ),
    Support("EQUAL", _BOTH, output="none", versions={"INT8": 2, "INT16": 5}),
    Support("NOT_EQUAL", _BOTH, output="none", versions=_V2_V4),
    # Between types.
    Support("QUANTIZE", _BOTH, special=_QUANTIZE),
    Support(
        "DEQUANTIZE",
        _BOTH,
        versions={"INT8": 2, "INT16": 3, "FLOAT16": 3, "INT4": 6, "INT2": 7},
        special={5: lambda use: use.data == "INT8" and len(use.inputs[0].scales) > 1},
    ),
    # Floats only.
    *_alike("POW ATAN2 NEG SQUARE SIN COS SIGN FLOOR CEIL ROUND CUMSUM ZEROS_LIKE"),
    *_alike("LOCAL_RESPONSE_NORMALIZATION L2_POOL_2D"),
)
_TABLE = {entry.name: entry for entry in _ENTRIES}
