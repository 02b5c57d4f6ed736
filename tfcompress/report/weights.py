"""The weights of a file's operations: their number, bits, zeros and distribution."""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from tfcompress.tflite.constants import bits_per_value, constant_value
from tfcompress.tflite.model import Operation, Tensor, TFLiteModel

_BINS = 32
# Constants of these types say how (shapes, axes, paddings), not what.
_SETTINGS = frozenset({"INT32", "INT64", "UINT32", "UINT64", "BOOL", "STRING"})


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Counts of values in equally wide bins from ``low`` to ``high``."""

    low: float
    high: float
    counts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights of one operation, biases left out."""

    count: int
    zeros: int
    distinct: int  # different stored values
    bits: int  # of the widest in the file
    histogram: Histogram | None  # without zeros; None if all are zero or have no scales

    @property
    def sparsity(self) -> float:
        """The share that is zero."""
        return self.zeros / self.count


def operation_weights(model: TFLiteModel, operation: Operation) -> Weights | None:
    """Describe an operation's weights, constants of two dimensions or more; None without any."""
    tensors = _weight_tensors(model, [operation])
    if not tensors:
        return None
    stored = [constant_value(model, tensor) for tensor in tensors]
    real = [_real(values, t.quantization) for values, t in zip(stored, tensors, strict=True)]
    return Weights(
        count=sum(values.size for values in stored),
        zeros=sum(map(_zeros, stored, real)),
        distinct=max(len(np.unique(values)) for values in stored),
        bits=max(bits_per_value(tensor.dtype) for tensor in tensors),
        histogram=None if any(values is None for values in real) else histogram(real),
    )


def file_sparsity(model: TFLiteModel) -> float | None:
    """Return the share of zeros among all weights of a file, shared ones counted once, or None."""
    operations = [operation for graph in model.subgraphs for operation in graph.operations]
    tensors = {tensor.buffer: tensor for tensor in _weight_tensors(model, operations)}.values()
    count, zeros = sum(math.prod(tensor.shape) for tensor in tensors), 0
    for tensor in tensors:
        stored = constant_value(model, tensor)
        zeros += _zeros(stored, _real(stored, tensor.quantization))
    return zeros / count if count else None


def real_values(model: TFLiteModel, tensor: Tensor) -> np.ndarray | None:
    """Dequantize a constant to float32; None for integers without scales."""
    return _real(constant_value(model, tensor), tensor.quantization)


def _real(values, quantization):
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if quantization is None or not quantization.scales:
        return None
    scales = np.asarray(quantization.scales, np.float32)
    zero_points = np.asarray(quantization.zero_points or [0], np.float32)
    if scales.size > 1:
        along = [1] * values.ndim
        along[quantization.axis] = -1
        scales = scales.reshape(along)
        zero_points = zero_points.reshape(along) if zero_points.size > 1 else zero_points
    return (values.astype(np.float32) - zero_points) * scales


def histogram(arrays: Iterable[np.ndarray], bins: int = _BINS) -> Histogram | None:
    """Make a histogram of all values but zero, symmetric around zero; None if all are zero.

    Example:
    ```python
    histogram([np.array([-1.0, 0.0, 0.9])], bins=2)  # Histogram(-1.0, 1.0, (1, 1))
    ```
    """
    values = np.concatenate([array.ravel() for array in arrays]).astype(np.float64)
    values = values[(values != 0) & np.isfinite(values)]
    if not values.size:
        return None
    end = float(np.abs(values).max())
    counts, _ = np.histogram(values, bins, (-end, end))
    return Histogram(-end, end, tuple(int(count) for count in counts))


def _weight_tensors(model: TFLiteModel, operations: Iterable[Operation]) -> list[Tensor]:
    found = {}
    for operation in operations:
        tensors = model.subgraphs[operation.subgraph].tensors
        for index in (index for index in operation.inputs if index >= 0):
            tensor = tensors[index]
            wide = len(tensor.shape) > 1 and math.prod(tensor.shape) > 0
            if tensor.constant and wide and tensor.dtype not in _SETTINGS:
                found[operation.subgraph, index] = tensor
    return list(found.values())


def _zeros(stored, real) -> int:
    return int(np.sum((stored if real is None else real) == 0))
