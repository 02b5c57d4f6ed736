"""All kernels in one place: how to compute an operation of a file, in float and on integers.

``INTEGER`` holds the integer kernels by the name of their operation. Each is a function
``kernel(operation, inputs, grids, kernels)``: inputs are ``Integers``, plain
tensors of indices and truths, or None where absent; grids are those of the outputs, None where an
output is not real-valued; kernels is "xnnpack" or "reference". It returns whole numbers in
float32, or tensors of indices and truths.
"""

import tensorflow as tf

from tfcompress.quantization.kernels import batches
from tfcompress.quantization.kernels.activations import ACTIVATIONS
from tfcompress.quantization.kernels.arithmetic import ARITHMETIC
from tfcompress.quantization.kernels.elementwise import ELEMENTWISE
from tfcompress.quantization.kernels.floating import FLOAT
from tfcompress.quantization.kernels.grids import Grid, Integers
from tfcompress.quantization.kernels.linear import LINEAR
from tfcompress.quantization.kernels.moving import MOVING
from tfcompress.quantization.kernels.pooling import POOLING
from tfcompress.quantization.kernels.reductions import REDUCTIONS
from tfcompress.quantization.kernels.softmax import SOFTMAX
from tfcompress.tflite.model import Operation

INTEGER = {
    **LINEAR,
    **ELEMENTWISE,
    **MOVING,
    **ACTIVATIONS,
    **ARITHMETIC,
    **SOFTMAX,
    **POOLING,
    **REDUCTIONS,
}

# LiteRT has no kernel for these with 16 bits.
_ONLY_8_BITS = frozenset(
    {
        *("ELU", "HARD_SWISH", "L2_NORMALIZATION", "LOG_SOFTMAX", "PRELU"),
        *("RELU_N1_TO_1", "RELU_0_TO_1", "SQUARED_DIFFERENCE"),
        *("ARG_MAX", "ARG_MIN", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE"),
    }
)
# The reference resolver of LiteRT 2.3 has no ELU, and its SUM reads all integers as unsigned bytes.
_NOT_IN_REFERENCE = frozenset({"ELU", "SUM"})


def has_integer_kernel(name: str, dtype: str, kernels: str) -> bool:
    """Tell whether an operation can be computed on integers.

    Args:
        name: of the operation, such as "CONV_2D".
        dtype: of its activations, "INT8" or "INT16".
        kernels: "xnnpack" or "reference".

    Returns:
        Whether there is an integer kernel.

    Example:
    >>> has_integer_kernel("HARD_SWISH", "INT16", "xnnpack")
    False
    """
    if kernels == "reference" and name in _NOT_IN_REFERENCE:
        return False
    return name in INTEGER and not (dtype == "INT16" and name in _ONLY_8_BITS)


def compute_float(operation: Operation, inputs: list[tf.Tensor | None]) -> list[tf.Tensor]:
    """Compute an operation on real numbers and indices.

    Args:
        operation: from ``batches.completed``.
        inputs: float32 tensors, indices and truths, None where absent; each may hold N times the
            file's leading dimension.

    Returns:
        Its outputs.
    """

    def kernel(operation, inputs):
        return FLOAT[operation.name](operation, inputs, operation.options.get("output_shapes"))

    return batches.run(kernel, operation, inputs)


def compute_integers(
    operation: Operation,
    inputs: list[batches.Input],
    grids: list[Grid | None],
    kernels: str,
) -> list[tf.Tensor]:
    """Compute an operation on integers, as a device does, or on indices alone.

    Args:
        operation: from ``batches.completed``.
        inputs: ``Integers``, indices and truths, None where absent; each may hold N times the
            file's leading dimension.
        grids: of the outputs, None where an output is not real-valued.
        kernels: "xnnpack" or "reference".

    Returns:
        Its outputs: whole numbers in float32, or indices and truths.
    """
    if not any(isinstance(entry, Integers) for entry in inputs) and not any(grids):
        return compute_float(operation, inputs)

    def kernel(operation, inputs):
        return INTEGER[operation.name](operation, inputs, grids, kernels)

    return batches.run(kernel, operation, inputs)
