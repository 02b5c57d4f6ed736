"""What a .tflite file says, as frozen data."""

import collections
import dataclasses
import functools
from collections.abc import Container, Mapping
from typing import Any


class FlatbufferError(ValueError):
    """The bytes are no readable .tflite file."""


@dataclasses.dataclass(frozen=True)
class Quantization:
    """How a tensor's integers mean real numbers: ``real = scale * (integer - zero_point)``."""

    # One scale, or one for each index along ``axis``; empty for blockwise quantization.
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]  # as many as ``scales``
    axis: int  # the dimension that the scales run along; meaningless with one scale
    block_size: int = 0  # how many values share a scale in blockwise quantization, otherwise 0


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of a subgraph."""

    index: int  # its place in the subgraph
    name: str  # its name in the file
    shape: tuple[int, ...]  # its dimensions; those that are free until run time hold 1 here
    dtype: str  # the schema's TensorType, such as "INT8", "FLOAT32" or "INT4"
    quantization: Quantization | None  # its scales, or None
    constant: bool  # whether the file holds its value
    size: int  # bytes that the file holds for it, 0 if none
    sparse: bool  # whether those bytes are a sparse encoding
    # Its dimensions with -1 where free; equal to ``shape`` if none is.
    shape_signature: tuple[int, ...]
    variable: bool = False  # whether it keeps its value between runs
    buffer: int = 0  # its buffer's index in ``TFLiteModel.buffers``
    sparsity: "Sparsity | None" = None  # the encoding of a sparse tensor, or None


@dataclasses.dataclass(frozen=True)
class SparseDimension:
    """One dimension of a sparse encoding: dense with ``size`` entries, or compressed (CSR)."""

    size: int  # the number of entries of a dense dimension
    # Where each parent's entries begin and end in ``indices``; None if dense.
    segments: tuple[int, ...] | None = None
    indices: tuple[int, ...] | None = None  # the coordinate of each stored entry; None if dense


@dataclasses.dataclass(frozen=True)
class Sparsity:
    """The encoding of a sparse tensor: the order of its dimensions, blocked ones last."""

    traversal_order: tuple[int, ...]
    block_map: tuple[int, ...]
    dimensions: tuple[SparseDimension, ...]


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operation of a subgraph."""

    index: int  # its place in the subgraph; operations run in this order
    name: str  # the built-in operation, such as "CONV_2D", or the custom code
    version: int  # the operation's version
    inputs: tuple[int, ...]  # tensor indices; -1 for an optional input that is absent
    outputs: tuple[int, ...]  # tensor indices
    # The operation's options in snake_case, enumerations as the schema's words.
    options: dict[str, Any]
    custom: bool = False  # whether ``name`` is a custom code
    subgraph: int = 0  # the index of its subgraph
    # Tensor indices of inner values whose scales a fused operation needs.
    intermediates: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """The name that tells a custom operation from a built-in one: "CUSTOM:Sinh"."""
        return f"CUSTOM:{self.name}" if self.custom else self.name


@dataclasses.dataclass(frozen=True)
class Subgraph:
    """A graph of operations; the first is the model, others are bodies or further entries."""

    index: int
    name: str
    tensors: tuple[Tensor, ...]
    operations: tuple[Operation, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @functools.cached_property
    def readers(self) -> Mapping[int, list[tuple[Operation, int]]]:
        """By tensor, the operations that read it, each with the position among its inputs."""
        found = collections.defaultdict(list)
        for operation in self.operations:
            for position, index in enumerate(operation.inputs):
                found[index].append((operation, position))
        return found

    @functools.cached_property
    def makers(self) -> Mapping[int, Operation]:
        """By tensor, the operation that computes it."""
        return {index: operation for operation in self.operations for index in operation.outputs}


@dataclasses.dataclass(frozen=True)
class Signature:
    """A named entry: the names of its inputs and outputs, each with its tensor index."""

    key: str
    subgraph: int
    inputs: dict[str, int]
    outputs: dict[str, int]


@dataclasses.dataclass(frozen=True)
class TFLiteModel:
    """Everything that a .tflite file says."""

    subgraphs: tuple[Subgraph, ...]  # the graphs, the main one first
    signatures: tuple[Signature, ...]  # the named entries
    metadata: Mapping[str, bytes]  # each metadata entry's name and its bytes
    version: int  # the schema version, 3
    description: str  # the converter's description
    size: int  # the file's size in bytes
    # The constants' raw bytes; read them with ``constant_value``.
    buffers: tuple[memoryview, ...] = dataclasses.field(repr=False)

    def entry_subgraphs(self) -> tuple[int, ...]:
        """Subgraphs that a caller can run: the main one and those that a signature names."""
        return tuple(sorted({0} | {signature.subgraph for signature in self.signatures}))


FLOAT_TYPES = frozenset({"FLOAT16", "FLOAT32", "FLOAT64", "BFLOAT16"})


def float_operations(model: TFLiteModel) -> tuple[Operation, ...]:
    """List the operations that compute in float: none in an integer file.

    An operation counts if one of its outputs, or an input that is not constant, is a float tensor:
    so does a hybrid operation (int8 weights, float activations: dynamic range).

    A QUANTIZE that reads an input of the model, and a DEQUANTIZE that writes an output, do not
    count: they are how an integer file takes and returns floats. Inside the graph, or in the body
    of a loop, they do: they are the boundaries of a float region.
    """
    entries = model.entry_subgraphs()
    return tuple(
        operation
        for subgraph in model.subgraphs
        for operation in subgraph.operations
        if _touches_float(operation, subgraph)
        and not (subgraph.index in entries and _at_boundary(operation, subgraph))
    )


def list_refused(found: Mapping[str, tuple[str, ...]], allowed: Container[str]) -> str:
    """Return a line for each layer that computes in float and may not, and one of advice; or ""."""
    refused = {layer: names for layer, names in found.items() if layer not in allowed}
    if not refused:
        return ""
    lines = [f"  {layer}: {', '.join(names)}" for layer, names in refused.items()]
    advice = f"Replace them, or allow them with allow_float={sorted(refused)!r}."
    if any("CAST" in names for names in refused.values()):
        advice += (
            " Real numbers are made integers there, for which devices have no kernel: declare "
            "indices with keras.Input(..., dtype='int32'), or compute them outside of the model."
        )
    return "\n".join([*lines, advice])


def _touches_float(operation: Operation, subgraph: Subgraph) -> bool:
    used = [subgraph.tensors[index] for index in operation.inputs if index >= 0]
    computed = [subgraph.tensors[index] for index in operation.outputs if index >= 0]
    values = [tensor for tensor in used if not tensor.constant] + computed
    return any(tensor.dtype in FLOAT_TYPES for tensor in values)


def _at_boundary(operation: Operation, subgraph: Subgraph) -> bool:
    if operation.name == "QUANTIZE":
        return set(operation.inputs) <= set(subgraph.inputs)
    if operation.name == "DEQUANTIZE":
        return set(operation.outputs) <= set(subgraph.outputs)
    return False
