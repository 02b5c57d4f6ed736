"""Where a quantized file departs from the float one: the noise of every operation's output."""

import collections
import dataclasses
import math

import numpy as np

from exporters.running.loaded_model import Examples, LoadedModel
from tfcompress.tflite.model import Subgraph, Tensor
from tfcompress.tflite.names import layer_scope, layer_scopes
from tfcompress.tflite.numerics import dequantize


@dataclasses.dataclass(frozen=True)
class LayerAgreement:
    """How an operation's output agrees with the float file's.

    Attributes:
        index: the operation's place in the main graph.
        operation: its name.
        tensor: the name of its output.
        layer: the scope of the Keras layer behind it, None if the name says nothing.
        sqnr: power of the float output over that of the difference, in dB; infinite if equal.
        inherited: the lowest ``sqnr`` among what it reads; infinite if that is not known to differ.
        grid: the ``sqnr`` that rounding the float output to the tensor's own scale would have:
            a low one says that the scale, not the operation, is at fault.
    """

    index: int
    operation: str
    tensor: str
    layer: str | None
    sqnr: float
    inherited: float
    grid: float

    def __str__(self):
        layer = f"layer {self.layer!r}, " if self.layer else ""
        return (
            f"operation {self.index} {self.operation} ({layer}tensor {self.tensor!r}): "
            f"{self.sqnr:.1f} dB, what it reads {self.inherited:.1f} dB, "
            f"its grid {self.grid:.1f} dB"
        )


def compare_layers(
    quantized: LoadedModel, reference: LoadedModel, examples: Examples, real: Examples
) -> tuple[LayerAgreement, ...]:
    """Compare the inner values of two files, operation by operation.

    Tensors are matched by name and shape, or by layer and node where the names differ: both files
    must come from one model.

    Args:
        quantized: the file to judge, loaded with ``keep_all=True``.
        reference: the float file, loaded likewise.
        examples: what the first takes.
        real: the same in real numbers, what the second takes.

    Returns:
        An entry for each operation whose output is found in both, in order.
    """
    graph = quantized.model.subgraphs[0]
    partners = _partners(graph, reference.model.subgraphs[0])
    produced = [
        (operation, operation.outputs[0])
        for operation in graph.operations
        if operation.outputs and operation.outputs[0] in partners
    ]
    if not produced:
        return ()
    _, own = quantized.trace(examples, [index for _, index in produced])
    _, expected = reference.trace(real, [partners[index] for _, index in produced])
    ratios: dict[int, float] = {}
    report = []
    for (operation, index), values, floats in zip(produced, own, expected, strict=True):
        tensor = graph.tensors[index]
        scopes = layer_scopes(tensor.name)
        ratios[index] = sqnr(floats, _real(tensor, values))
        known = [ratios[i] for i in operation.inputs if i in ratios]
        report.append(
            LayerAgreement(
                index=operation.index,
                operation=operation.label,
                tensor=tensor.name,
                layer=scopes[0] if scopes else None,
                sqnr=ratios[index],
                inherited=min(known, default=math.inf),
                grid=sqnr(floats, _rounded(tensor, floats)),
            )
        )
    return tuple(report)


def first_wrong(layers: tuple[LayerAgreement, ...], lowest: float) -> LayerAgreement | None:
    """Find the first operation that falls below a ratio although what it reads is above it.

    Args:
        layers: from ``compare_layers``.
        lowest: the ratio in dB.

    Returns:
        The entry, or None.
    """
    for layer in layers:
        if layer.sqnr < lowest <= layer.inherited:
            return layer
    return None


def sqnr(reference: np.ndarray, values: np.ndarray) -> float:
    """Signal-to-quantization-noise ratio.

    Args:
        reference: float values.
        values: what stands for them, of the same shape.

    Returns:
        10 log10(sum reference^2 / sum (reference - values)^2) in dB; infinite if they are equal.

    Example:
    ```python
    sqnr(np.array([1.0, 2.0]), np.array([1.0, 1.5]))  # 10 log10(5 / 0.25) = 13.01
    ```
    """
    reference = reference.astype(np.float64)
    noise = float(((reference - values) ** 2).sum())
    signal = float((reference**2).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _partners(graph: Subgraph, reference: Subgraph) -> dict[int, int]:
    """Match tensors by name and shape, the graphs' own outputs by their order, others by layer."""
    floats = {
        (tensor.name, tensor.shape): tensor.index
        for tensor in reference.tensors
        if tensor.dtype == "FLOAT32" and not tensor.constant
    }
    partners = {
        tensor.index: floats[tensor.name, tensor.shape]
        for tensor in graph.tensors
        if not tensor.constant and (tensor.name, tensor.shape) in floats
    }
    for own, other in zip(graph.outputs, reference.outputs, strict=False):
        if graph.tensors[own].shape == reference.tensors[other].shape:
            partners.setdefault(own, other)
    taken = set(partners.values())
    left = [tensor for tensor in _computed(graph) if tensor.index not in partners]
    others = [tensor for tensor in _computed(reference) if tensor.index not in taken]
    return partners | _partners_by_layer(left, others)


def _partners_by_layer(left: list[Tensor], others: list[Tensor]) -> dict[int, int]:
    """Match what the same node of the same layer gives, where that leaves no choice.

    Two conversions of one model number the nodes of a layer anew, and fuse others into them.
    """
    by_node = collections.defaultdict(list)
    for other in others:
        if (scope := layer_scope(other.name)) is not None:
            by_node[other.shape, _node(other.name)].append((other.index, scope))
    found: dict[int, list[int]] = {}
    for tensor in left:
        scope = layer_scope(tensor.name)
        alike = () if scope is None else by_node[tensor.shape, _node(tensor.name)]
        found[tensor.index] = [index for index, other in alike if _nested(scope, other)]
    wanted = collections.Counter(index for indices in found.values() for index in indices)
    return {
        own: indices[0]
        for own, indices in found.items()
        if len(indices) == 1 and wanted[indices[0]] == 1
    }


def _nested(first: str, second: str) -> bool:
    outer, inner = sorted((scope.split("/") for scope in (first, second)), key=len)
    return inner[: len(outer)] == outer


def _node(name: str) -> str:
    """Return the outermost node of a tensor's name, without the number that makes it unique."""
    return name.partition(";")[0].rpartition("/")[2].rstrip("_0123456789")


def _computed(graph: Subgraph) -> list[Tensor]:
    return [graph.tensors[i] for operation in graph.operations for i in operation.outputs if i >= 0]


def _grid(tensor: Tensor) -> tuple[float, int] | None:
    quantization = tensor.quantization
    if quantization is None or len(quantization.scales) != 1:
        return None
    return quantization.scales[0], quantization.zero_points[0]


def _real(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    grid = _grid(tensor)
    return values if grid is None or values.dtype.kind == "f" else dequantize(values, *grid)


def _rounded(tensor: Tensor, floats: np.ndarray) -> np.ndarray:
    grid = _grid(tensor)
    if grid is None or not tensor.dtype.startswith(("INT", "UINT")):
        return floats
    scale, zero_point = grid
    bits = int(tensor.dtype.removeprefix("U").removeprefix("INT"))
    signed = tensor.dtype.startswith("INT")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    integers = np.clip(np.round(floats.astype(np.float64) / scale) + zero_point, low, high)
    return scale * (integers - zero_point)
