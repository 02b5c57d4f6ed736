"""The kernels of a file as it stores them: how many zeros, how many different values."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable

import numpy as np

from exporters.reading.inspection import inspect
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import Tensor, TFLiteModel


@dataclasses.dataclass(frozen=True)
class StoredKernel:
    """One kernel of a file.

    Attributes:
        layer: the Keras layer that it belongs to; None if the file does not tell.
        operation: the operation that reads it, such as "CONV_2D".
        dtype: its type in the file, such as "INT8" or "INT4".
        size: bytes that the file holds for it.
        values: the stored numbers: integers not multiplied by their scales.
    """

    layer: str | None
    operation: str
    dtype: str
    size: int
    values: np.ndarray = dataclasses.field(repr=False)

    @property
    def zeros(self) -> int:
        """How many of the weights are zero."""
        return int(np.count_nonzero(self.values == 0))

    @property
    def sparsity(self) -> float:
        """The share of zeros."""
        return self.zeros / self.values.size

    @property
    def unique(self) -> int:
        """How many different numbers are stored."""
        return len(np.unique(self.values))


def stored_kernels(
    source: bytes | str | os.PathLike, layers: Iterable[str] = ()
) -> tuple[StoredKernel, ...]:
    """List the kernels that a file stores, in the order of the operations that read them.

    Args:
        source: the file's bytes, or its path.
        layers: the paths of the Keras model's layers, for exact names; see ``inspect``.

    Returns:
        An entry for each constant of two or more dimensions that an operation multiplies with: a
        constant behind a DEQUANTIZE belongs to the operation that follows.

    Raises:
        FlatbufferError: the file is damaged.
        OSError: the path cannot be read.

    Example:
    >>> sparsities = {kernel.layer: kernel.sparsity for kernel in stored_kernels("m.tflite")}
    """
    whole = isinstance(source, bytes | bytearray)
    content = source if whole else pathlib.Path(source).read_bytes()
    model = read_model(content)
    found = []
    for report in inspect(content, layers).operations:
        tensors = model.subgraphs[report.subgraph].tensors
        for index in report.inputs:
            if index >= 0 and _is_kernel(model, tensors[index]):
                tensor = tensors[index]
                values = constant_value(model, tensor)
                found.append(
                    StoredKernel(report.layer, report.name, tensor.dtype, tensor.size, values)
                )
    return tuple(found)


def _is_kernel(model: TFLiteModel, tensor: Tensor) -> bool:
    floats = ("FLOAT32", "FLOAT16", "BFLOAT16")
    known = tensor.dtype in floats or tensor.quantization is not None
    return tensor.constant and len(tensor.shape) >= 2 and known
