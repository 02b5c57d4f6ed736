"""Editing a .tflite file: its objects are read, changed and written."""

import copy
import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np

from tfcompress.compat.litert_schema import schema
from tfcompress.tflite.flatbuffer import DAMAGE, IDENTIFIER, read_model
from tfcompress.tflite.metadata import append_files, appended_files
from tfcompress.tflite.model import FlatbufferError, Operation, TFLiteModel
from tfcompress.tflite.names import short_name

_ALIGNMENT = 16
_SUBGRAPH_INDEX = "SubgraphIndex"  # ends the names of options that refer to a graph


def record(kind: str, **fields: Any) -> Any:
    """Return a new object of the schema with some of its fields set."""
    made = getattr(schema, kind + "T")()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def _read_tree(content: bytes) -> schema.ModelT:
    try:
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    except DAMAGE as error:
        raise FlatbufferError(f"damaged .tflite file: {error}") from error


class Editor:
    """A file to edit: the schema's objects in ``tree``, and its content as it was in ``model``.

    Args:
        content: the file.
        model: what ``read_model`` read from it; read here when not given.
    """

    def __init__(self, content: bytes, model: TFLiteModel | None = None):
        self.model: TFLiteModel = read_model(content) if model is None else model
        self.files = appended_files(content)
        self.tree = _read_tree(content)
        self.graph: Any = self.tree.subgraphs[0] if self.tree.subgraphs else None
        self.records = list(self.graph.operators or ()) if self.graph else []
        self.last: schema.OperatorT | None = None

    def operations(self, name: str, inputs: int) -> list[Operation]:
        """List the main graph's operations of a name that have their first inputs and options."""
        return [
            operation
            for graph in self.model.subgraphs[:1]
            for operation in graph.operations
            if operation.name == name
            and len(operation.inputs) >= inputs
            and min(operation.inputs[:inputs]) >= 0
            and min(operation.outputs, default=-1) >= 0
            and operation.options
        ]

    def add_buffer(self, content: bytes | np.ndarray) -> int:
        """Add a buffer; return its index."""
        data = np.frombuffer(content, np.uint8) if isinstance(content, bytes) else content
        self.tree.buffers.append(record("Buffer", data=data))
        return len(self.tree.buffers) - 1

    def add_tensor(self, name: str, shape: Iterable[int], dtype: str, buffer: int = 0) -> int:
        """Add a tensor to the main graph; return its index."""
        code = getattr(schema.TensorType, dtype)
        self.graph.tensors.append(
            record("Tensor", name=name, shape=list(shape), buffer=buffer, type=code)
        )
        return len(self.graph.tensors) - 1

    def add_constant(self, name: str, value: np.ndarray, dtype: str) -> int:
        """Add a constant to the main graph; return its index."""
        return self.add_tensor(name, value.shape, dtype, self.add_buffer(value.tobytes()))

    def add_metadata(self, name: str, content: bytes) -> None:
        """Add an entry to the file's metadata."""
        entry = record("Metadata", name=name, buffer=self.add_buffer(content))
        self.tree.metadata = [*(self.tree.metadata or ()), entry]

    def code(self, name: str, version: int, custom: str = "") -> int:
        """Return the index of an operation code, a new one if the file does not have it.

        ``custom`` names the operation where ``name`` is "CUSTOM".
        """
        builtin = getattr(schema.BuiltinOperator, name)
        for index, code in enumerate(self.tree.operatorCodes):
            number = max(code.builtinCode, code.deprecatedBuiltinCode)
            if (number, code.version, text(code.customCode)) == (builtin, version, custom):
                return index
        self.tree.operatorCodes.append(
            record(
                "OperatorCode",
                builtinCode=builtin,
                deprecatedBuiltinCode=min(builtin, 127),
                customCode=custom or None,
                version=version,
            )
        )
        return len(self.tree.operatorCodes) - 1

    def operator(self, name: str, inputs: list[int], output: int, options: Any) -> schema.OperatorT:
        """Return a new operation of version 1, to be inserted into a graph."""
        operator = record(
            "Operator", opcodeIndex=self.code(name, 1), inputs=inputs, outputs=[output]
        )
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        return operator

    def insert_after(
        self, before: Any, name: str, inputs: list[int], output: int, options: Any
    ) -> None:
        """Insert an operation of version 1 after another one of the main graph."""
        operator = self.operator(name, inputs, output, options)
        place = next(i for i, other in enumerate(self.graph.operators) if other is before)
        self.graph.operators.insert(place + 1, operator)
        self.last = operator

    def remove_dead_operations(self) -> int:
        """Remove operations of the main graph whose outputs are not used; return how many."""
        before = len(self.graph.operators)
        needed = set(indices(self.graph.outputs))
        kept = []
        for operator in reversed(self.graph.operators):
            if needed.intersection(indices(operator.outputs)):
                needed.update(indices(operator.inputs))
                kept.append(operator)
        self.graph.operators = kept[::-1]
        return before - len(kept)

    def packed(self) -> bytes:
        """Return the file, without unused operation codes: a runtime looks up all of them."""
        operators = [op for graph in self.tree.subgraphs for op in graph.operators or ()]
        used = sorted({operator.opcodeIndex for operator in operators})
        self.tree.operatorCodes = [self.tree.operatorCodes[index] for index in used]
        for operator in operators:
            operator.opcodeIndex = used.index(operator.opcodeIndex)
        builder = _AlignedBuilder(1024)
        builder.Finish(self.tree.Pack(builder), IDENTIFIER)
        return append_files(bytes(builder.Output()), self.files)


class _AlignedBuilder(flatbuffers.Builder):
    """Aligns constants as the schema requires (``force_align``) and kernels expect."""

    # The name is that of flatbuffers.
    def StartVector(self, size: int, count: int, alignment: int) -> Any:  # noqa: N802
        return super().StartVector(size, count, _ALIGNMENT if size == 1 else alignment)


def indices(values: Iterable[int] | None) -> list[int]:
    """Return tensor indices, a list or an array in the schema's objects, as integers."""
    return [] if values is None else [int(value) for value in values]


def text(name: bytes | str | None) -> str:
    """Return a name, which the schema's objects hold as bytes, or as text once it was set."""
    return name.decode("utf-8", errors="replace") if isinstance(name, bytes) else name or ""


def free_name(name: str, taken: set[str]) -> str:
    """Return a name that no tensor has, numbered as TensorFlow numbers nodes; it is then taken."""
    node, *others = name.split(";")
    numbered = (";".join([f"{node}_{number}", *others]) for number in itertools.count(2))
    free = next(each for each in itertools.chain([name], numbered) if each not in taken)
    taken.add(free)
    return free


def share_buffers(tree: schema.ModelT) -> None:
    """Store equal buffers once and drop unused ones; the first buffer stays the empty one."""
    kept, places = [schema.BufferT()], {(b"", 0, 0): 0}

    def place(index: int) -> int:
        buffer = tree.buffers[index]
        data = b"" if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes()
        key = data, buffer.offset, buffer.size
        if key not in places:
            places[key] = len(kept)
            kept.append(buffer)
        return places[key]

    for graph in tree.subgraphs:
        for tensor in graph.tensors or ():
            tensor.buffer = place(tensor.buffer)
    for entry in tree.metadata or ():
        entry.buffer = place(entry.buffer)
    if tree.metadataBuffer is not None:
        tree.metadataBuffer = [place(index) for index in tree.metadataBuffer]
    tree.buffers = kept


def shorten_names(tree: schema.ModelT) -> None:
    """Shorten the names of tensors, see ``short_name``."""
    for graph in tree.subgraphs:
        tensors = list(graph.tensors or ())
        names = [text(tensor.name) for tensor in tensors]
        taken = set(names)
        for tensor, name in zip(tensors, names, strict=True):
            if short_name(name) != name:
                tensor.name = free_name(short_name(name), taken)


def compact(content: bytes) -> bytes:
    """Return a smaller file with the same content: short names, no empty buffers.

    The converter names a tensor after all TensorFlow nodes fused into it, each with the model's
    name, and gives every computed tensor an empty buffer: together a tenth of a small file.
    """
    editor = Editor(content)
    shorten_names(editor.tree)
    share_buffers(editor.tree)
    return editor.packed()


class OperationCutter:
    """Extracts single operations of a file's main graph, each as a file of its own."""

    def __init__(self, content: bytes, model: TFLiteModel):
        self._tree, self._model = _read_tree(content), model

    def cut(self, index: int) -> bytes | None:
        """Return a file of one operation: its inputs are those that are not constant.

        None if the operation needs more than its own tensors: the body of a loop, or a resource.
        """
        tree, tensors = self._tree, self._model.subgraphs[0].tensors
        operation = self._model.subgraphs[0].operations[index]
        used = dict.fromkeys(
            i for i in (*operation.inputs, *operation.intermediates, *operation.outputs) if i >= 0
        )
        resources = any(tensors[i].dtype in ("RESOURCE", "VARIANT") for i in used)
        if resources or any(key.endswith("subgraph_index") for key in operation.options):
            return None
        source = tree.subgraphs[0]
        places = {old: new for new, old in enumerate(used)}
        buffers, copies = [schema.BufferT()], []
        for old in used:
            tensor = copy.copy(source.tensors[old])
            buffer = tree.buffers[tensor.buffer]
            tensor.buffer = 0
            if buffer.data is not None and len(buffer.data):
                buffers.append(buffer)
                tensor.buffer = len(buffers) - 1
            copies.append(tensor)
        operator = copy.copy(source.operators[index])
        code = tree.operatorCodes[operator.opcodeIndex]
        operator.opcodeIndex = 0
        for field in ("inputs", "outputs", "intermediates"):
            setattr(operator, field, [places.get(i, -1) for i in getattr(operation, field)])
        graph = record(
            "SubGraph",
            tensors=copies,
            inputs=[
                places[i]
                for i in dict.fromkeys(operation.inputs)
                if i >= 0 and not tensors[i].constant and not tensors[i].variable
            ],
            outputs=[places[i] for i in operation.outputs if i >= 0],
            operators=[operator],
        )
        model = record(
            "Model",
            version=tree.version,
            description="one operation",
            operatorCodes=[code],
            buffers=buffers,
            subgraphs=[graph],
        )
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())


@dataclasses.dataclass(frozen=True)
class Entry:
    """The main graph of a file, and the names of its inputs and outputs in a signature."""

    editor: Editor
    inputs: Sequence[str]
    outputs: Sequence[str]


def assemble(entries: Mapping[str, Entry]) -> Editor:
    """Join files, with a signature for the main graph of each; the first stays the main graph.

    The other editors must not be used afterwards.
    """
    first, *others = entries.values()
    tree = first.editor.tree
    starts = [0]
    for entry in others:
        starts.append(len(tree.subgraphs))
        _append(tree, entry.editor.tree)
    tree.signatureDefs = [
        _signature(key, entry, start, tree.subgraphs[start])
        for (key, entry), start in zip(entries.items(), starts, strict=True)
    ]
    if others:
        share_buffers(tree)
    return first.editor


def _append(tree: schema.ModelT, other: schema.ModelT) -> None:
    """Append the graphs of another file, and what they refer to."""
    graphs, buffers, codes = len(tree.subgraphs), len(tree.buffers), len(tree.operatorCodes)
    for graph in other.subgraphs:
        for tensor in graph.tensors or ():
            if tensor.buffer:
                tensor.buffer += buffers
        for operator in graph.operators or ():
            operator.opcodeIndex += codes
            for name, value in vars(operator.builtinOptions or object).items():
                if name.endswith(_SUBGRAPH_INDEX):
                    setattr(operator.builtinOptions, name, value + graphs)
    tree.subgraphs += other.subgraphs
    tree.buffers += other.buffers
    tree.operatorCodes += other.operatorCodes


def _signature(key: str, entry: Entry, index: int, graph: schema.SubGraphT) -> Any:
    """Return a signature; free names of inputs also become those of their tensors."""
    taken = {tensor.name for tensor in graph.tensors}
    for name, tensor in zip(entry.inputs, graph.inputs, strict=True):
        if name not in taken:  # for readers that do not know signatures
            graph.tensors[int(tensor)].name = name
    sides = {
        side: [
            record("TensorMap", name=name, tensorIndex=int(tensor))
            for name, tensor in zip(names, tensors, strict=True)
        ]
        for side, names, tensors in (
            ("inputs", entry.inputs, graph.inputs),
            ("outputs", entry.outputs, graph.outputs),
        )
    }
    return record("SignatureDef", signatureKey=key, subgraphIndex=index, **sides)
