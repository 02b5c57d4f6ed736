"""All integer kernels by the name of their operation.

Each is a function ``kernel(operation, inputs, grids, kernels)``: inputs are ``Integers``, plain
tensors of indices and truths, or None where absent; grids are those of the outputs, None where an
output is not real-valued; kernels is "xnnpack" or "reference". It returns whole numbers in
float32, or tensors of indices and truths.
"""

from tfcompress.quantization.kernels.activations import ACTIVATIONS
from tfcompress.quantization.kernels.arithmetic import ARITHMETIC
from tfcompress.quantization.kernels.elementwise import ELEMENTWISE
from tfcompress.quantization.kernels.linear import LINEAR
from tfcompress.quantization.kernels.moving import MOVING
from tfcompress.quantization.kernels.pooling import POOLING
from tfcompress.quantization.kernels.reductions import REDUCTIONS
from tfcompress.quantization.kernels.softmax import SOFTMAX

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
