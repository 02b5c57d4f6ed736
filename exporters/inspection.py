"""Inspecting a .tflite file: operations, types, sizes, scales, and their Keras layers."""

import collections
import dataclasses
import math
import os
from collections.abc import Iterable
from typing import Any

from exporters.graph_picture import draw
from exporters.macs import count_macs
from exporters.metadata import TensorDescription, read_descriptions
from tfcompress.targets.target import minimum_runtime, oldest_runtime
from tfcompress.tflite.flatbuffer import read_content, read_model
from tfcompress.tflite.model import Subgraph, Tensor, TFLiteModel, float_operations
from tfcompress.tflite.names import layer_scopes, match_layers

# Tensors that only say how, such as shapes and axes: constants, but no parameters of the model.
_SETTING_TYPES = frozenset({"INT64", "BOOL", "STRING"})
_LONG = 60
_FEW = 5


@dataclasses.dataclass(frozen=True)
class TensorReport:
    """A tensor of a subgraph."""

    subgraph: int
    index: int
    name: str
    dtype: str  # its type in the file, such as "INT4" (interpreters report some types wider)
    shape: tuple[int, ...]  # its dimensions, -1 if free until run time
    size: int  # bytes that the file stores for it
    scales: tuple[float, ...]  # its scales; empty if it is not quantized
    zero_points: tuple[int, ...]
    axis: int | None  # the dimension of the scales, None with one scale or none
    constant: bool  # whether the file stores its value
    sparse: bool  # whether that value is stored sparse
    variable: bool  # whether it keeps its value from one run to the next


@dataclasses.dataclass(frozen=True)
class OperationReport:
    """An operation of a subgraph."""

    subgraph: int
    index: int
    name: str  # its name; "CUSTOM:..." if it is custom
    version: int
    # Its Keras layer, the one with the kernel if there are several: the path if the layers are
    # known, otherwise the scope.
    layer: str | None
    fused_layers: tuple[str, ...]  # all layers fused into it, the last of the model first
    dtype: str | None  # the type that it computes in: that of its first output
    weights_dtype: str | None  # the type of its kernel, None if it has none
    sparse: bool  # whether its kernel is stored sparse
    shape: tuple[int, ...]  # the shape of its first output
    inputs: tuple[int, ...]  # tensor indices
    outputs: tuple[int, ...]  # tensor indices
    parameters: int  # the number of its parameters
    size: int  # bytes of its constants
    macs: int  # its multiply-accumulates
    min_runtime: str | None  # the oldest TensorFlow release that runs it, None if unknown
    float_: bool  # whether it computes in float


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What is in a file.

    Attributes:
        path: the file; None if bytes were given.
        size: its bytes.
        description: the converter's description.
        metadata: the names of its metadata.
        described_inputs: the TFLite Metadata of each input; empty without metadata.
        described_outputs: the same of each output, with class labels.
        subgraphs: the names of its graphs.
        signatures: {key: {"subgraph": index, "inputs": {name: tensor}, "outputs": ...}}.
        inputs: the main graph's inputs.
        outputs: the main graph's outputs.
        operations: every operation of every graph.
        tensors: every tensor of every graph.
        parameters: the model's parameters; a shared tensor counts once.
        macs: the main graph's multiply-accumulates.
        min_runtime: the oldest TensorFlow release that runs the file, None if unknown.
    """

    path: str | None
    size: int
    description: str
    metadata: tuple[str, ...]
    described_inputs: tuple[TensorDescription, ...]
    described_outputs: tuple[TensorDescription, ...]
    subgraphs: tuple[str, ...]
    signatures: dict[str, dict[str, Any]]
    inputs: tuple[TensorReport, ...]
    outputs: tuple[TensorReport, ...]
    operations: tuple[OperationReport, ...]
    tensors: tuple[TensorReport, ...]
    parameters: int
    macs: int
    min_runtime: str | None

    @property
    def labels(self) -> tuple[str, ...]:
        """The class labels of the first output that has some; empty if none has."""
        return next((details.labels for details in self.described_outputs if details.labels), ())

    @property
    def keeps_state(self) -> bool:
        """Whether a run sees the one before, unless ``reset_all_variables`` is called between."""
        return any(tensor.variable for tensor in self.tensors)

    @property
    def operation_counts(self) -> dict[str, int]:
        """The number of operations by name."""
        return dict(collections.Counter(operation.name for operation in self.operations))

    @property
    def layer_sizes(self) -> dict[str, int]:
        """Bytes of the constants of each layer; "" for operations that name no layer."""
        sizes: collections.Counter[str] = collections.Counter()
        for operation in self.operations:
            sizes[operation.layer or ""] += operation.size
        return dict(sizes)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        derived = {"operation_counts": self.operation_counts, "layer_sizes": self.layer_sizes}
        return dataclasses.asdict(self) | derived

    def to_text(self) -> str:
        """Return a table for the terminal."""
        lines = [
            f"{self.path or 'model'}: {self.size:,} bytes, {self.parameters:,} parameters, "
            f"{self.macs:,} multiply-accumulates, needs the runtime of TensorFlow "
            f"{self.min_runtime or '(unknown)'} or later"
        ]
        for side, tensors in (("input", self.inputs), ("output", self.outputs)):
            lines += [f"{side} {_tensor_text(tensor)}" for tensor in tensors]
        if self.keeps_state:
            lines.append("keeps state between runs: reset_all_variables() before each sequence")
        for key, entry in self.signatures.items():
            inputs, outputs = ", ".join(entry["inputs"]), ", ".join(entry["outputs"])
            lines.append(f"signature {key}: ({inputs}) -> ({outputs}), graph {entry['subgraph']}")
        lines += [_description_text(each) for each in self.described_inputs if each.mean]
        lines += [_description_text(each) for each in self.described_outputs if each.labels]
        lines.append(_operation_table(self.operations))
        return "\n".join(lines)

    def to_svg(self) -> str:
        """Return an SVG picture of the main graph's operations with types, sizes and MACs."""
        return draw([op for op in self.operations if op.subgraph == 0], self.path or "model")


def inspect(source: bytes | str | os.PathLike, layers: Iterable[str] = ()) -> Inspection:
    """Read what is in a file, without running it.

    Args:
        source: the file's bytes, or its path.
        layers: the paths of the Keras model's layers, nested names joined by "/", for exact layer
            names. Otherwise scopes in the file are reported, which TensorFlow may have numbered.

    Returns:
        The inspection, with ``to_text()``, ``to_json()`` and ``to_svg()``.

    Raises:
        FlatbufferError: the file is damaged.
        OSError: the path cannot be read.

    Example:
    ```python
    print(inspect("model_int8.tflite").to_text())
    ```
    """
    content, path = read_content(source)
    model = read_model(content, path)
    described = read_descriptions(content, model)
    main = model.subgraphs[0] if model.subgraphs else None
    floats = {(op.subgraph, op.index) for op in float_operations(model)}
    scopes = {scope for g in model.subgraphs for t in g.tensors for scope in layer_scopes(t.name)}
    layers = tuple(layers)
    known = match_layers(scopes, layers) if layers else {scope: scope for scope in scopes}
    operations = tuple(
        report
        for subgraph in model.subgraphs
        for report in _operation_reports(subgraph, floats, known)
    )
    tensors = tuple(_tensor_report(g.index, t) for g in model.subgraphs for t in g.tensors)
    return Inspection(
        path=path,
        size=model.size,
        description=model.description,
        metadata=tuple(model.metadata),
        described_inputs=described[0],
        described_outputs=described[1],
        subgraphs=tuple(subgraph.name for subgraph in model.subgraphs),
        signatures={
            each.key: {"subgraph": each.subgraph, "inputs": each.inputs, "outputs": each.outputs}
            for each in model.signatures
        },
        inputs=tuple(_tensor_report(0, main.tensors[i]) for i in main.inputs) if main else (),
        outputs=tuple(_tensor_report(0, main.tensors[i]) for i in main.outputs) if main else (),
        operations=operations,
        tensors=tensors,
        parameters=_parameters(model),
        macs=sum(operation.macs for operation in operations if operation.subgraph == 0),
        min_runtime=minimum_runtime(model),
    )


def _tensor_report(subgraph: int, tensor: Tensor) -> TensorReport:
    quantization = tensor.quantization
    return TensorReport(
        subgraph=subgraph,
        index=tensor.index,
        name=tensor.name,
        dtype=tensor.dtype,
        shape=tensor.shape_signature,
        size=tensor.size,
        scales=quantization.scales if quantization else (),
        zero_points=quantization.zero_points if quantization else (),
        axis=quantization.axis if quantization and len(quantization.scales) > 1 else None,
        constant=tensor.constant,
        sparse=tensor.sparse,
        variable=tensor.variable,
    )


def _operation_reports(subgraph: Subgraph, floats: set, known) -> list[OperationReport]:
    def tensors(indices) -> list[Tensor]:
        return [subgraph.tensors[index] for index in indices if index >= 0]

    reports = []
    layer_of: dict[int, str | None] = {}  # by tensor, for operations whose own name says nothing
    for operation in subgraph.operations:
        constants = [t for t in tensors(operation.inputs) if t.constant]
        kernel = next((tensor for tensor in constants if _is_parameter(tensor)), None)
        fused = _fused_layers([*tensors(operation.outputs), *constants], known)
        own = _fused_layers([kernel] if kernel else [], known)
        before = (layer_of[i] for i in operation.inputs if layer_of.get(i))
        layer = own[-1] if own else fused[0] if fused else next(before, None)
        layer_of.update(dict.fromkeys(operation.outputs, layer))
        first = subgraph.tensors[operation.outputs[0]] if operation.outputs else None
        reports.append(
            OperationReport(
                subgraph=subgraph.index,
                index=operation.index,
                name=operation.label,
                version=operation.version,
                layer=layer,
                fused_layers=fused,
                dtype=first.dtype if first else None,
                weights_dtype=kernel.dtype if kernel else None,
                sparse=kernel is not None and kernel.sparse,
                shape=first.shape_signature if first else (),
                inputs=operation.inputs,
                outputs=operation.outputs,
                parameters=sum(_count(tensor) for tensor in constants),
                size=sum(tensor.size for tensor in constants),
                macs=count_macs(operation, subgraph),
                min_runtime=None
                if operation.custom
                else oldest_runtime(operation.name, operation.version),
                float_=(operation.subgraph, operation.index) in floats,
            )
        )
    return reports


def _fused_layers(tensors: list[Tensor], known: dict[str, str | None]) -> tuple[str, ...]:
    """Return the layers that tensors are named after."""
    found = (known[scope] for tensor in tensors for scope in layer_scopes(tensor.name))
    return tuple(dict.fromkeys(layer for layer in found if layer))


def _is_parameter(tensor: Tensor) -> bool:
    """Return whether a constant is a weight or a bias: unlike those, INT32 axes have no scale."""
    if not tensor.constant or tensor.dtype in _SETTING_TYPES:
        return False
    return tensor.dtype != "INT32" or tensor.quantization is not None


def _count(tensor: Tensor) -> int:
    return math.prod(tensor.shape) if _is_parameter(tensor) else 0


def _parameters(model: TFLiteModel) -> int:
    """Count the parameters of all graphs, each buffer once."""
    read = [
        subgraph.tensors[index]
        for subgraph in model.subgraphs
        for index in {i for operation in subgraph.operations for i in operation.inputs if i >= 0}
    ]
    return sum({tensor.buffer: _count(tensor) for tensor in read}.values())


def _tensor_text(tensor: TensorReport) -> str:
    text = f"{tensor.name[:_LONG]}: {tensor.dtype} {list(tensor.shape)}"
    if len(tensor.scales) == 1:
        text += f", scale {tensor.scales[0]:.6g}, zero point {tensor.zero_points[0]}"
    return text


def _description_text(details: TensorDescription) -> str:
    if details.labels:
        few = ", ".join(details.labels[:_FEW]) + (", ..." if len(details.labels) > _FEW else "")
        return f"labels of {details.name}: {len(details.labels)} ({few})"
    return f"normalization of {details.name}: (raw - {list(details.mean)}) / {list(details.std)}"


def _operation_table(operations: Iterable[OperationReport]) -> str:
    rows = [("", "operation", "layer", "type", "output", "bytes", "parameters", "MACs")]
    for operation in operations:
        kinds = [kind for kind in (operation.weights_dtype, operation.dtype) if kind]
        rows.append(
            (
                f"{operation.subgraph}.{operation.index}",
                f"{operation.name} v{operation.version}",
                (operation.layer or "-")[-_LONG:],
                "/".join(dict.fromkeys(kinds))
                + (" sparse" if operation.sparse else "")
                + (" (float)" if operation.float_ else ""),
                "x".join(map(str, operation.shape)) or "scalar",
                f"{operation.size:,}",
                f"{operation.parameters:,}",
                f"{operation.macs:,}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numeric = len(rows[0]) - 3
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column >= numeric else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
