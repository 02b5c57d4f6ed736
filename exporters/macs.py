"""Multiply-accumulates of an operation, counted from its shapes."""

import math

from tfcompress.tflite.model import Operation, Subgraph, Tensor

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


def _kernel(inputs: list[Tensor | None], place: int, rank: int) -> tuple[int, ...] | None:
    """Return the shape of a kernel of that rank, None in a file that has none there."""
    if place >= len(inputs) or inputs[place] is None or len(inputs[place].shape) != rank:
        return None
    return inputs[place].shape


def _convolution(_, inputs, outputs) -> int:
    kernel = _kernel(inputs, 1, 4)  # (out, height, width, in of a group)
    return _size(outputs[0].shape) * _size(kernel[1:]) if kernel and outputs else 0


def _depthwise(_, inputs, outputs) -> int:
    kernel = _kernel(inputs, 1, 4)  # (1, height, width, out)
    return _size(outputs[0].shape) * _size(kernel[1:3]) if kernel and outputs else 0


def _transposed(_, inputs, __) -> int:
    kernel = _kernel(inputs, 1, 4)  # (out, height, width, in); every input meets every weight
    if kernel is None or len(inputs) < 3 or inputs[2] is None:
        return 0
    return _size(inputs[2].shape) * _size(kernel[:3])


def _convolution_3d(_, inputs, outputs) -> int:
    kernel = _kernel(inputs, 1, 5)  # (depth, height, width, in, out)
    return _size(outputs[0].shape) * _size(kernel[:4]) if kernel and outputs else 0


def _dense(_, inputs, outputs) -> int:
    kernel = _kernel(inputs, 1, 2)  # (out, in)
    return _size(outputs[0].shape) * max(1, kernel[1]) if kernel and outputs else 0


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
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "CONV_3D": _convolution_3d,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _matrix_product,
    "LSTM": _lstm,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}
