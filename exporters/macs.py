"""Multiply-accumulates of an operation, counted from its shapes."""

import math
from collections.abc import Callable

from tfcompress.tflite.model import Operation, Subgraph

# Inputs of the LSTM operations that are matrices: input and recurrent kernels, projection.
_LSTM_KERNELS = (*range(1, 9), 16)


def count_macs(operation: Operation, subgraph: Subgraph) -> int:
    """Count what an operation multiplies and accumulates in one run.

    Convolutions, matrix products and recurrent operations are counted; an operation that works
    element by element, pools or moves data counts 0. Free dimensions count as 1.
    """
    counter = _COUNTERS.get(operation.name)
    if counter is None or operation.custom:
        return 0
    inputs = [subgraph.tensors[i] if i >= 0 else None for i in operation.inputs]
    outputs = [subgraph.tensors[i] for i in operation.outputs if i >= 0]
    return counter(operation, inputs, outputs)


def _size(shape: tuple[int, ...]) -> int:
    return math.prod(max(1, side) for side in shape)


def _with_kernel(rank: int, macs_per_value: slice, values: int | None = None) -> Callable:
    """Count by a kernel of that rank: each output, or value of an input, meets its axes given."""

    def count(_, inputs, outputs) -> int:
        kernel = inputs[1] if len(inputs) > 1 else None
        met = outputs[0] if outputs else None
        if values is not None:
            met = inputs[values] if len(inputs) > values else None
        if kernel is None or met is None or len(kernel.shape) != rank:
            return 0
        return _size(met.shape) * _size(kernel.shape[macs_per_value])

    return count


def _matrix_product(operation, inputs, outputs) -> int:
    if not inputs or inputs[0] is None or len(inputs[0].shape) < 2 or not outputs:
        return 0
    inner = inputs[0].shape[-2 if operation.options.get("adj_x") else -1]
    return _size(outputs[0].shape) * max(1, inner)


def _lstm(operation, inputs, _) -> int:
    weights = sum(
        _size(inputs[place].shape)
        for place in _LSTM_KERNELS
        if place < len(inputs) and inputs[place] is not None
    )
    shape = inputs[0].shape if inputs and inputs[0] is not None else ()
    sequence = operation.name != "LSTM" and len(shape) == 3
    return weights * (_size(shape[:2]) if sequence else _size(shape[:1]))


_COUNTERS = {
    "CONV_2D": _with_kernel(4, slice(1, 4)),  # (out, height, width, in of a group)
    "DEPTHWISE_CONV_2D": _with_kernel(4, slice(1, 3)),  # (1, height, width, out)
    "TRANSPOSE_CONV": _with_kernel(4, slice(0, 3), values=2),  # (out, height, width, in)
    "CONV_3D": _with_kernel(5, slice(0, 4)),  # (depth, height, width, in, out)
    "FULLY_CONNECTED": _with_kernel(2, slice(1, 2)),  # (out, in)
    "BATCH_MATMUL": _matrix_product,
    "LSTM": _lstm,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}
