"""How much memory a graph's tensors need at once, if they share it.

The plan is the greedy one of TensorFlow Lite for Microcontrollers (``GreedyMemoryPlanner``): the
largest tensors first, each at the lowest place that is free while it lives.
"""

import math

from tfcompress.tflite.constants import bits_per_value
from tfcompress.tflite.model import Subgraph

ALIGNMENT = 16
# What its interpreter keeps for each tensor and each operation on a 32-bit device, measured sizes
# of TfLiteEvalTensor, NodeAndRegistration, TfLiteNode and a typical operation's own data.
_BYTES_PER_TENSOR = 12
_BYTES_PER_OPERATION = 128
_BYTES_PER_CHANNEL = 8
_CHANNELWISE = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


def arena_estimate(subgraph: Subgraph) -> int:
    """Estimate the arena that a microcontroller needs for a graph.

    The plan of the tensors is exact; what the interpreter itself keeps is estimated from the size
    of its structures; scratch buffers of the kernels, which differ between devices, are left out.

    Args:
        subgraph: the main graph.

    Returns:
        Bytes.
    """
    kept = _BYTES_PER_TENSOR * len(subgraph.tensors)
    for operation in subgraph.operations:
        kept += _BYTES_PER_OPERATION
        if operation.name in _CHANNELWISE and operation.outputs:
            shape = subgraph.tensors[operation.outputs[0]].shape
            kept += _BYTES_PER_CHANNEL * max(0, shape[-1] if shape else 1)
    return plan_tensors(subgraph) + kept


def plan_tensors(subgraph: Subgraph) -> int:
    """Place the tensors of a graph in shared memory.

    Args:
        subgraph: a graph whose shapes are known; free dimensions count as 1.

    Returns:
        Bytes up to the end of the last tensor.

    Example:
    ```python
    # a -> b -> c of 16, 32 and 16 bytes: a and b live together, then b and c.
    plan_tensors(subgraph)  # 48
    ```
    """
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first use, last use
    for size, first, last in sorted(_lifetimes(subgraph), key=lambda entry: -entry[0]):
        offset = 0
        for start, end, begins, ends in sorted(placed):
            if begins > last or ends < first:
                continue
            if offset + size <= start:
                break
            offset = max(offset, end)
        placed.append((offset, offset + size, first, last))
    return max((end for _, end, _, _ in placed), default=0)


def _lifetimes(subgraph: Subgraph) -> list[tuple[int, int, int]]:
    """List (bytes, first operation, last operation) of every tensor that is computed or fed."""
    end = len(subgraph.operations)
    first = dict.fromkeys(subgraph.inputs, 0)
    last = dict.fromkeys(subgraph.inputs, 0)
    for operation in subgraph.operations:
        for index in operation.outputs:
            first.setdefault(index, operation.index)
        for index in (*operation.inputs, *operation.outputs):
            last[index] = operation.index
    for index in subgraph.outputs:
        last[index] = end
    found = []
    for index, begins in first.items():
        if index < 0 or subgraph.tensors[index].constant:
            continue
        tensor = subgraph.tensors[index]
        bits = math.prod(max(1, side) for side in tensor.shape) * bits_per_value(tensor.dtype)
        size = -(-bits // (8 * ALIGNMENT)) * ALIGNMENT
        whole = (0, end) if tensor.variable else (begins, last.get(index, begins))
        found.append((size, *whole))
    for tensor in subgraph.tensors:
        if tensor.variable and tensor.index not in first and not tensor.constant:
            bits = math.prod(max(1, side) for side in tensor.shape) * bits_per_value(tensor.dtype)
            found.append((-(-bits // (8 * ALIGNMENT)) * ALIGNMENT, 0, end))
    return found
