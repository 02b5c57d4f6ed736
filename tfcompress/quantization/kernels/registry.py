"""All kernels in one place: how to compute an operation of a file, in float and on integers.

``INTEGER`` holds the integer kernels by the name of their operation. Each is a function
``kernel(operation, inputs, grids, kernels)``: inputs are ``Integers``, plain tensors of indices and
truths, or None where absent; grids are those of the outputs, None where an output is not
real-valued; kernels is a key of ``KERNEL_SETS``. It returns whole numbers in float32, or tensors of
indices and truths. Inputs may hold N times the file's leading dimension.

``KERNEL_SETS`` says what a runtime computes: which operations it has, and with which kernels. That
of TFLite Micro is the reference set of LiteRT, but for the kernels that round differently:

- FULLY_CONNECTED fixes its output in fixed point, where LiteRT 2.3 multiplies in float64.
- MUL, RELU, LEAKY_RELU, PRELU, ABS and RSQRT make the factor from one grid to another in float64,
  where LiteRT rounds it to float32. That moves a value in 10,000, and half of the values that lie
  between two integers where the factor is a simple fraction.
- RELU6 clamps on the input's grid and leaves the output's aside, so that a file is only right where
  the two are one.
- With 16 bits, SOFTMAX interpolates tables filled in float32, and RSQRT computes as with 8 bits.

It has SUM, which the reference set of LiteRT 2.3 gets wrong, and ELU. Fully connected layers with
4-bit weights have one scale there. Its GREATER with 16 bits is never true, and is left out here.
"""

from typing import NamedTuple

import tensorflow as tf

from tfcompress.quantization.kernels import batches
from tfcompress.quantization.kernels.activations import ACTIVATIONS
from tfcompress.quantization.kernels.elementwise import ELEMENTWISE
from tfcompress.quantization.kernels.floating import FLOAT
from tfcompress.quantization.kernels.grids import Grid, Integers
from tfcompress.quantization.kernels.linear import LINEAR
from tfcompress.quantization.kernels.pooling import POOLING
from tfcompress.quantization.kernels.softmax import SOFTMAX
from tfcompress.quantization.kernels.structural import MOVING
from tfcompress.tflite.model import Operation
from tfcompress.tflite.operations import support

INTEGER = {**LINEAR, **ELEMENTWISE, **MOVING, **ACTIVATIONS, **SOFTMAX, **POOLING}


class KernelSet(NamedTuple):
    """The integer kernels that a runtime does not have: with 16 bits, and at all."""

    only_8_bits: frozenset[str]
    missing: frozenset[str] = frozenset()


_ONLY_8_BITS = frozenset(name for name in INTEGER if support(name).activations == ("INT8",))
_ONLY_8_BITS_IN_MICRO = _ONLY_8_BITS | {
    *("DIV", "REDUCE_MAX", "REDUCE_MIN", "RESIZE_BILINEAR", "MIRROR_PAD", "GATHER", "GATHER_ND"),
    *("EMBEDDING_LOOKUP", "FILL", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"),
    *("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"),
}
_NOT_IN_MICRO = frozenset(
    {
        *("EXP", "LOG", "NEG", "SQRT", "GELU", "RELU_N1_TO_1", "RELU_0_TO_1", "REDUCE_PROD"),
        *("TILE", "TOPK_V2", "ONE_HOT", "SCATTER_ND", "SELECT", "RANK", "REVERSE_SEQUENCE"),
    }
)
KERNEL_SETS = {
    "xnnpack": KernelSet(_ONLY_8_BITS),
    # LiteRT 2.3's resolver has no ELU, and its SUM reads all integers as unsigned bytes.
    "reference": KernelSet(_ONLY_8_BITS, frozenset({"ELU", "SUM"})),
    "micro": KernelSet(_ONLY_8_BITS_IN_MICRO, _NOT_IN_MICRO),
}


def has_integer_kernel(name: str, dtype: str, kernels: str) -> bool:
    """Tell whether an operation can be computed on integers.

    Example:
    >>> has_integer_kernel("HARD_SWISH", "INT16", "xnnpack")
    False
    """
    chosen = KERNEL_SETS[kernels]
    there = name in INTEGER and name not in chosen.missing
    return there and not (dtype == "INT16" and name in chosen.only_8_bits)


def compute_float(operation: Operation, inputs: list[tf.Tensor | None]) -> list[tf.Tensor]:
    """Compute an operation, from ``batches.completed``, on real numbers and indices."""
    return batches.run(FLOAT[operation.name], operation, inputs)


def compute_integers(
    operation: Operation, inputs: list[batches.Input], grids: list[Grid | None], kernels: str
) -> list[tf.Tensor]:
    """Compute an operation on integers, as a device does, or on indices alone."""
    if not any(isinstance(entry, Integers) for entry in inputs) and not any(grids):
        return compute_float(operation, inputs)

    def kernel(operation, inputs):
        return INTEGER[operation.name](operation, inputs, grids, kernels)

    return batches.run(kernel, operation, inputs)
