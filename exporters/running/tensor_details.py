"""The inputs and outputs of a file: names, shapes, types and scales."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfcompress.tflite.constants import numpy_type
from tfcompress.tflite.model import FlatbufferError, Tensor, TFLiteModel
from tfcompress.tflite.numerics import dequantize, quantize


@dataclasses.dataclass(frozen=True)
class TensorDetails:
    """An input or output of a file."""

    name: str  # its name in the signature; the tensor's own name where there is no signature
    index: int  # the tensor's index
    shape: tuple[int, ...]  # its shape, including the batch dimension
    dtype: np.dtype  # its NumPy type
    scale: float | None = None  # its scale; None if it is not quantized with a single scale
    zero_point: int = 0  # its zero point

    @classmethod
    def of(cls, tensor: Tensor, name: str) -> "TensorDetails":
        """Describe a tensor of a file."""
        quantization = tensor.quantization
        per_tensor = quantization is not None and len(quantization.scales) == 1
        return cls(
            name=name,
            index=tensor.index,
            shape=tuple(1 if size < 0 else size for size in tensor.shape),
            dtype=numpy_type(tensor.dtype),
            scale=quantization.scales[0] if per_tensor else None,
            zero_point=quantization.zero_points[0] if per_tensor else 0,
        )

    def to_file(self, values: np.ndarray) -> np.ndarray:
        """Quantize real numbers; arrays of the tensor's own integer type are returned unchanged."""
        values = np.asarray(values)
        if self.scale is None or values.dtype == self.dtype:
            return values.astype(self.dtype, copy=False)
        return quantize(values, self.scale, self.zero_point, self.dtype)

    def to_real(self, values: np.ndarray) -> np.ndarray:
        """Dequantize the tensor's values."""
        if self.scale is None or values.dtype.kind == "f":
            return values
        return dequantize(values, self.scale, self.zero_point)

    @property
    def ends(self) -> np.ndarray:
        """The smallest and the largest real number that a quantized tensor can hold."""
        limits = np.iinfo(self.dtype)
        return self.to_real(np.array([limits.min, limits.max], self.dtype))

    def to_json(self) -> dict[str, Any]:
        """Return what reports and bundles say about the tensor."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "scale": self.scale,
            "zero_point": self.zero_point,
        }


def input_output_details(
    model: TFLiteModel, signature: str | None = None
) -> tuple[tuple[TensorDetails, ...], tuple[TensorDetails, ...]]:
    """Return the inputs and outputs of a signature; of the main graph when not given.

    The main graph's inputs and outputs have the names of its signature if it has exactly one.
    """
    if not model.subgraphs:
        raise FlatbufferError("the file has no graph to run")
    if signature is None:
        graph = model.subgraphs[0]
        main = [entry for entry in model.signatures if entry.subgraph == 0]
        named = (main[0].inputs, main[0].outputs) if len(main) == 1 else ({}, {})
        sides = []
        for own, indices in zip(named, (graph.inputs, graph.outputs), strict=True):
            names = {index: name for name, index in own.items()}
            sides.append([(names.get(i, graph.tensors[i].name), i) for i in indices])
    else:
        found = {entry.key: entry for entry in model.signatures}
        if signature not in found:
            raise ValueError(f"The file's signatures are {list(found)}. Received: {signature!r}")
        graph = model.subgraphs[found[signature].subgraph]
        sides = [found[signature].inputs.items(), found[signature].outputs.items()]
    inputs, outputs = (
        tuple(TensorDetails.of(graph.tensors[index], name) for name, index in side)
        for side in sides
    )
    return inputs, outputs


def random_inputs(inputs: Sequence[TensorDetails], seed: int) -> list[np.ndarray]:
    """Return random inputs; integers wider than 16 bits, which are mostly indices, are 0."""
    generator = np.random.default_rng(seed)

    def values(details: TensorDetails) -> np.ndarray:
        shape, dtype = details.shape, details.dtype
        if dtype.kind == "f":
            return generator.standard_normal(shape).astype(dtype)
        if dtype.kind in "iu" and dtype.itemsize <= 2:
            limits = np.iinfo(dtype)
            return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        return np.full(shape, b"" if dtype.kind == "O" else 0, dtype)

    return [values(details) for details in inputs]
