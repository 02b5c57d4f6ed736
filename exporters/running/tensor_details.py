"""What a file takes and gives: names, shapes, types and scales."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfcompress.tflite.constants import numpy_type
from tfcompress.tflite.model import FlatbufferError, Tensor, TFLiteModel
from tfcompress.tflite.numerics import dequantize, quantize


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or an output of a file.

    Attributes:
        name: its name in the signature, or its tensor's name where there is no signature.
        index: its tensor's index.
        shape: its shape, the batch dimension included.
        dtype: its NumPy type.
        scale: its scale, or None if it is not quantized.
        zero_point: its zero point.
    """

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float | None = None
    zero_point: int = 0

    def to_file(self, values: np.ndarray) -> np.ndarray:
        """Turn real numbers into what the tensor holds; its own integer type passes through.

        Raises:
            ValueError: a value is NaN or infinite where integers are needed.
        """
        values = np.asarray(values)
        if self.scale is None or values.dtype == self.dtype:
            return values.astype(self.dtype, copy=False)
        return quantize(values, self.scale, self.zero_point, self.dtype)

    def to_real(self, values: np.ndarray) -> np.ndarray:
        """Turn what the tensor holds into real numbers."""
        if self.scale is None or values.dtype.kind == "f":
            return values
        return dequantize(values, self.scale, self.zero_point)


def ports(model: TFLiteModel, signature: str | None = None):
    """Describe what a file takes and gives.

    Args:
        model: the file's content.
        signature: the signature's key; by default the main graph, whose names are those of its
            signature where it has exactly one.

    Returns:
        (inputs, outputs), tuples of ``Port``.

    Raises:
        FlatbufferError: the file has no graph, or a type that cannot be fed.
        ValueError: there is no such signature.
    """
    if not model.subgraphs:
        raise FlatbufferError("the file has no graph to run")
    if signature is None:
        graph = model.subgraphs[0]
        main = [entry for entry in model.signatures if entry.subgraph == 0]
        named = {**main[0].inputs, **main[0].outputs} if len(main) == 1 else {}
        names = {index: name for name, index in named.items()}
        sides = [[(names.get(i, graph.tensors[i].name), i) for i in graph.inputs]]
        sides.append([(names.get(i, graph.tensors[i].name), i) for i in graph.outputs])
    else:
        found = [entry for entry in model.signatures if entry.key == signature]
        if not found:
            keys = [entry.key for entry in model.signatures]
            raise ValueError(f"The file's signatures are {keys}. Received: {signature!r}")
        graph = model.subgraphs[found[0].subgraph]
        sides = [list(found[0].inputs.items()), list(found[0].outputs.items())]
    return tuple(tuple(_port(name, graph.tensors[i]) for name, i in side) for side in sides)


def _port(name: str, tensor: Tensor) -> Port:
    per_tensor = tensor.quantization is not None and len(tensor.quantization.scales) == 1
    return Port(
        name=name,
        index=tensor.index,
        shape=tuple(max(side, 1) if side < 0 else side for side in tensor.shape),
        dtype=numpy_type(tensor.dtype),
        scale=tensor.quantization.scales[0] if per_tensor else None,
        zero_point=tensor.quantization.zero_points[0] if per_tensor else 0,
    )


def random_inputs(ports: Sequence[Port], seed: int) -> list[np.ndarray]:
    """Make an input that a file takes: numbers over the whole range of small integer types.

    Args:
        ports: the file's inputs.
        seed: of the numbers.

    Returns:
        An array for each input. Wide integers, which are mostly indices, are 0.
    """
    generator = np.random.default_rng(seed)

    def values(port: Port) -> np.ndarray:
        if port.dtype.kind == "f":
            return generator.standard_normal(port.shape).astype(port.dtype)
        if port.dtype.kind in "iu" and port.dtype.itemsize <= 2:
            span = np.iinfo(port.dtype)
            return generator.integers(span.min, span.max, port.shape, port.dtype, endpoint=True)
        return np.full(port.shape, b"" if port.dtype.kind == "O" else 0, port.dtype)

    return [values(port) for port in ports]
