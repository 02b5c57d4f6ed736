"""Numerical parity of a quantized file with the float one, operation by operation."""

import collections
import dataclasses
import math

import numpy as np

from exporters.running.loaded_model import Examples, LoadedModel
from exporters.running.tensor_details import TensorDetails
from tfcompress.tflite.model import Subgraph, Tensor
from tfcompress.tflite.names import layer_scope, layer_scopes
from tfcompress.tflite.numerics import sqnr


@dataclasses.dataclass(frozen=True)
class LayerParity:
    """Numerical parity of one operation's output."""

    index: int  # the operation's index in the main graph
    operation: str
    tensor: str  # the name of its output
    layer: str | None  # the scope of its Keras layer, None if the tensor's name does not tell
    sqnr: float  # signal-to-quantization-noise ratio of the output in dB; infinite if equal
    inherited: float  # the lowest ``sqnr`` of its inputs; infinite if they are not known to differ
    # The ``sqnr`` of the float output quantized with the tensor's own scale: if it is low, the
    # scale is at fault, not the operation.
    grid: float
    # That of the float output cut off where the tensor's range ends: if it is as low, the range
    # has to be larger, and not the steps smaller.
    cut_off: float

    def __str__(self):
        layer = f"layer {self.layer!r}, " if self.layer else ""
        return (
            f"operation {self.index} {self.operation} ({layer}tensor {self.tensor!r}): "
            f"{self.sqnr:.1f} dB, its inputs {self.inherited:.1f} dB, "
            f"its scale {self.grid:.1f} dB"
        )


def compare_layers(
    quantized: LoadedModel, reference: LoadedModel, examples: Examples, real: Examples
) -> tuple[LayerParity, ...]:
    """Compare the tensors of two files of one model, operation by operation.

    Tensors are matched by name and shape, or by layer and node where the names differ. Both files
    are loaded with ``keep_all=True``; ``real`` holds the examples as real numbers.
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
        details = TensorDetails.of(tensor, tensor.name)
        scopes = layer_scopes(tensor.name)
        on_grid = details.to_real(details.to_file(np.nan_to_num(floats)))
        limited = np.clip(floats, *details.ends) if details.scale else floats
        ratios[index] = sqnr(floats, details.to_real(values))
        known = [ratios[i] for i in operation.inputs if i in ratios]
        report.append(
            LayerParity(
                index=operation.index,
                operation=operation.label,
                tensor=tensor.name,
                layer=scopes[0] if scopes else None,
                sqnr=ratios[index],
                inherited=min(known, default=math.inf),
                grid=sqnr(floats, on_grid),
                cut_off=sqnr(floats, limited),
            )
        )
    return tuple(report)


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
    one, other = f"{first}/", f"{second}/"
    return one.startswith(other) or other.startswith(one)


def _node(name: str) -> str:
    """Return the outermost node of a tensor's name, without the number that makes it unique."""
    return name.partition(";")[0].rpartition("/")[2].rstrip("_0123456789")


def _computed(graph: Subgraph) -> list[Tensor]:
    return [graph.tensors[i] for operation in graph.operations for i in operation.outputs if i >= 0]
