"""The memory arena of a graph's tensors on a microcontroller.

The plan is the greedy one of TensorFlow Lite for Microcontrollers (``GreedyMemoryPlanner``): the
largest tensors first, each at the lowest place that is free while it lives. What kernels ask for
while they run, their scratch memory, is planned with the tensors.
"""

import math

from tfcompress.tflite.constants import bits_per_value
from tfcompress.tflite.model import Operation, Subgraph, Tensor

ALIGNMENT = 16
# What its interpreter keeps for each tensor and each operation on a 32-bit device, measured sizes
# of TfLiteEvalTensor, NodeAndRegistration, TfLiteNode and a typical operation's own data.
_BYTES_PER_TENSOR = 12
_BYTES_PER_OPERATION = 128
_BYTES_PER_CHANNEL = 8
# Bytes of the sums that a transposed convolution makes of its output, by its input's type.
_SUMS = {"INT8": 4, "INT16": 8}
_SUM_BYTES = 4  # of a mean or sum in integers
_UNPACKED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")  # kernels of 4 bits, to bytes
_GATES = 4
_CELL_STATE = 19  # the input of an LSTM that holds its cells
_CHANNELWISE = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


def arena_estimate(subgraph: Subgraph) -> int:
    """Estimate the arena that a microcontroller needs for a graph.

    The plan of the tensors, with the scratch memory of the portable kernels, is exact; what the
    interpreter itself keeps is estimated from the size of its structures. Kernels made for one
    device, such as those of CMSIS-NN, may ask for more.

    Source: the calls of ``RequestScratchBufferInArena`` in tensorflow/lite/micro/kernels of
    https://github.com/tensorflow/tflite-micro.
    """
    kept = _BYTES_PER_TENSOR * len(subgraph.tensors)
    for operation in subgraph.operations:
        kept += _BYTES_PER_OPERATION
        if operation.name in _CHANNELWISE and operation.outputs:
            shape = subgraph.tensors[operation.outputs[0]].shape
            kept += _BYTES_PER_CHANNEL * max(0, shape[-1] if shape else 1)
    return plan_tensors(subgraph) + kept


def plan_tensors(subgraph: Subgraph) -> int:
    """Place the tensors of a graph in shared memory."""
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
        size = _aligned(_elements(tensor) * bits_per_value(tensor.dtype))
        whole = (0, end) if tensor.variable else (begins, last.get(index, begins))
        found.append((size, *whole))
    for operation in subgraph.operations:
        found += [
            (size, operation.index, operation.index) for size in _scratch(subgraph, operation)
        ]
    for tensor in subgraph.tensors:
        if tensor.variable and tensor.index not in first and not tensor.constant:
            found.append((_aligned(_elements(tensor) * bits_per_value(tensor.dtype)), 0, end))
    return found


def _scratch(subgraph: Subgraph, operation: Operation) -> list[int]:
    """List the bytes of each buffer that a portable kernel asks for while it runs."""
    inputs = [None if i < 0 else subgraph.tensors[i] for i in operation.inputs]
    outputs = [subgraph.tensors[i] for i in operation.outputs if i >= 0]
    if not outputs or not inputs:
        return []
    sizes = []
    if operation.name == "TRANSPOSE_CONV":
        sizes.append(_SUMS.get(outputs[0].dtype, 0) * _elements(outputs[0]))
    elif operation.name in ("MEAN", "SUM") and outputs[0].quantization is not None:
        sizes.append(_SUM_BYTES * _elements(outputs[0]))
    elif operation.name in _UNPACKED and inputs[1] is not None and inputs[1].dtype == "INT4":
        sizes.append(_elements(inputs[1]))
    elif operation.name == "UNIDIRECTIONAL_SEQUENCE_LSTM" and len(inputs) > _CELL_STATE:
        cells = inputs[_CELL_STATE]
        if cells is not None:
            sizes += [_elements(cells) * bits_per_value(cells.dtype) // 8] * _GATES
    return [_aligned(8 * size) for size in sizes if size]


def _elements(tensor: Tensor) -> int:
    """Count a tensor's values; free dimensions count as 1."""
    return math.prod(max(1, side) for side in tensor.shape)


def _aligned(bits: int) -> int:
    """Return whole bytes in steps of the alignment."""
    return -(-bits // (8 * ALIGNMENT)) * ALIGNMENT
