"""The kernels that a .tflite file stores."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable

import numpy as np

from exporters import inspect
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import Tensor


@dataclasses.dataclass(frozen=True)
class StoredKernel:
    """A kernel of a file; ``values`` are stored integers, not multiplied by their scales."""

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
    """List the kernels that a file stores, in the order of the operations that read them."""
    whole = isinstance(source, bytes | bytearray)
    content = source if whole else pathlib.Path(source).read_bytes()
    model = read_model(content)
    found = []
    for report in inspect(content, layers).operations:
        tensors = model.subgraphs[report.subgraph].tensors
        for index in report.inputs:
            if index >= 0 and _is_kernel(tensors[index]):
                tensor = tensors[index]
                values = constant_value(model, tensor)
                found.append(
                    StoredKernel(report.layer, report.name, tensor.dtype, tensor.size, values)
                )
    return tuple(found)


def _is_kernel(tensor: Tensor) -> bool:
    floats = ("FLOAT32", "FLOAT16", "BFLOAT16")
    known = tensor.dtype in floats or tensor.quantization is not None
    return tensor.constant and len(tensor.shape) >= 2 and known
