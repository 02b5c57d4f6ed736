"""Random files of one operation: does our arithmetic give what a runtime's kernels give?

`files` makes a file of one operation, runs it both ways and counts the values that differ. The
other modules have the generators of the operations, a kind of them each: a function of a NumPy
generator that returns a `Sample`. The tests run a few files of each, `soak.py` many.
"""

from random_operations import arithmetic, functions, moves
from random_operations.files import KERNELS, Count, check, check_values
from tfcompress.quantization.kernels.registry import INTEGER, has_integer_kernel

__all__ = ["GENERATORS", "KERNELS", "Count", "check", "check_values", "kernel_of", "runs"]

KINDS = (arithmetic, functions, moves)
# By names that begin with the operation's and have the type of its activations.
GENERATORS = {name: made for kind in KINDS for name, made in kind.GENERATORS.items()}
# LiteRT's reference kernels run no depthwise convolution with 4-bit weights, TFLite Micro no fully
# connected layer with 4-bit weights and a scale per channel, or with 2-bit weights.
REFUSED = {
    "xnnpack": set(),
    "reference": {"DEPTHWISE_CONV_2D int8 x int4"},
    "micro": {
        "FULLY_CONNECTED int8 x int4",
        "FULLY_CONNECTED int8 x int2",
        "FULLY_CONNECTED int16 x int4",
        "BATCH_MATMUL int16 constant int8",
    },
}


def kernel_of(name: str):
    """Return our kernel of an operation."""
    return INTEGER[name.split(maxsplit=1)[0]]


def runs(names=tuple(GENERATORS), kernels=KERNELS) -> list:
    """Return the pairs of a name and a kernel set that runs it."""
    return [(name, chosen) for name in names for chosen in kernels if _has_kernel(name, chosen)]


def _has_kernel(name, kernels):
    operation = name.split(maxsplit=1)[0]
    dtype = "INT16" if "int16" in name.lower() else "INT8"
    return name not in REFUSED[kernels] and has_integer_kernel(operation, dtype, kernels)
