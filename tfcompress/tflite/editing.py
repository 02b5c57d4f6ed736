"""Taking a .tflite file apart, changing it, and putting it together again."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import flatbuffers
import numpy as np

from tfcompress.compat.litert_schema import schema
from tfcompress.tflite.flatbuffer import DAMAGE, IDENTIFIER, read_model
from tfcompress.tflite.metadata import append_files, appended_files
from tfcompress.tflite.model import FlatbufferError, Operation, TFLiteModel
from tfcompress.tflite.names import layer_scope

_ALIGNMENT = 16
_REFERENCE = "SubgraphIndex"  # ends the names of options that point at a graph


class Editor:
    """A file taken apart: the schema's objects, and what was read from them.

    Args:
        content: the file.
        model: what ``read_model`` has read in it; read here when not given.
    """

    def __init__(self, content: bytes, model: TFLiteModel | None = None):
        self.model: TFLiteModel = read_model(content) if model is None else model
        self.files = appended_files(content)
        try:
            self.tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        except DAMAGE as error:
            raise FlatbufferError(f"damaged .tflite file: {error}") from error
        self.graph = self.tree.subgraphs[0] if self.tree.subgraphs else None
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

    def add_tensor(self, name: str, shape, dtype: str, buffer: int = 0) -> int:
        """Add a tensor to the main graph; return its index."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
        tensor.type = getattr(schema.TensorType, dtype)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def add_constant(self, name: str, value: np.ndarray, dtype: str) -> int:
        """Add a constant to the main graph; return its index."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(value.tobytes(), np.uint8)
        self.tree.buffers.append(buffer)
        return self.add_tensor(name, value.shape, dtype, len(self.tree.buffers) - 1)

    def add_metadata(self, name: str, content: bytes) -> None:
        """Add an entry to the file's metadata."""
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(content, np.uint8)
        self.tree.buffers.append(buffer)
        entry.name, entry.buffer = name, len(self.tree.buffers) - 1
        self.tree.metadata = [*(self.tree.metadata or ()), entry]

    def code(self, name: str, version: int) -> int:
        """Return the index of an operation code, a new one where the file has none."""
        builtin = getattr(schema.BuiltinOperator, name)
        for index, code in enumerate(self.tree.operatorCodes):
            if (max(code.builtinCode, code.deprecatedBuiltinCode), code.version) == (
                builtin,
                version,
            ):
                return index
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode = builtin, min(builtin, 127)
        code.version = version
        self.tree.operatorCodes.append(code)
        return len(self.tree.operatorCodes) - 1

    def insert_after(self, record, name: str, inputs: list[int], output: int, options) -> None:
        """Insert an operation of version 1 behind another."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self.code(name, 1)
        operator.inputs, operator.outputs = inputs, [output]
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        place = next(i for i, other in enumerate(self.graph.operators) if other is record)
        self.graph.operators.insert(place + 1, operator)
        self.last = operator

    def remove_dead_operations(self) -> int:
        """Remove operations of the main graph whose outputs nobody reads; return how many."""
        before = len(self.graph.operators)
        needed = {int(i) for i in self.graph.outputs}
        kept = []
        for operator in reversed(self.graph.operators):
            if not needed & _indices(operator.outputs):
                continue
            needed |= _indices(operator.inputs)
            kept.append(operator)
        self.graph.operators = kept[::-1]
        return before - len(kept)

    def packed(self) -> bytes:
        """Put the file together again, without the operation codes that nothing uses any more.

        A runtime looks up every code of a file, used or not.
        """
        operators = [op for graph in self.tree.subgraphs for op in graph.operators or ()]
        used = sorted({operator.opcodeIndex for operator in operators})
        self.tree.operatorCodes = [self.tree.operatorCodes[index] for index in used]
        for operator in operators:
            operator.opcodeIndex = used.index(operator.opcodeIndex)
        builder = _AlignedBuilder(1024)
        builder.Finish(self.tree.Pack(builder), IDENTIFIER)
        return append_files(bytes(builder.Output()), self.files)


class _AlignedBuilder(flatbuffers.Builder):
    """Puts constants where the schema wants them (``force_align``), as kernels read them there."""

    def StartVector(self, elemSize, numElems, alignment):  # noqa: N802, N803 - flatbuffers' names
        return super().StartVector(elemSize, numElems, _ALIGNMENT if elemSize == 1 else alignment)


def _indices(values) -> set[int]:
    return set() if values is None else {int(value) for value in values}


def share_buffers(tree: schema.ModelT) -> None:
    """Store equal buffers once and drop those that nothing uses.

    Args:
        tree: the file's objects, changed in place. The first buffer stays the empty one.
    """
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


class OperationCutter:
    """Cuts operations out of a file.

    Args:
        content: the bytes of a file that ``read_model`` has accepted.
        model: what it read.

    Raises:
        FlatbufferError: a part that ``read_model`` does not read is damaged.
    """

    def __init__(self, content: bytes, model: TFLiteModel):
        try:
            self._tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        except DAMAGE as error:
            raise FlatbufferError(f"damaged .tflite file: {error}") from error
        self._model = model

    def cut(self, index: int) -> bytes | None:
        """Make a file of one operation of the main graph.

        Its inputs are what the operation reads from the graph, its outputs are the operation's.

        Args:
            index: the operation's place in the main graph.

        Returns:
            The file; None if the operation needs more of the file than its own tensors: the body
            of a loop, or a resource.
        """
        operation = self._model.subgraphs[0].operations[index]
        tensors = self._model.subgraphs[0].tensors
        used = dict.fromkeys(
            i for i in (*operation.inputs, *operation.intermediates, *operation.outputs) if i >= 0
        )
        resources = any(tensors[i].dtype in ("RESOURCE", "VARIANT") for i in used)
        if resources or any(key.endswith("subgraph_index") for key in operation.options):
            return None
        places = {old: new for new, old in enumerate(used)}
        return _packed(self._tree, operation, places, self._fed(operation, tensors))

    @staticmethod
    def _fed(operation, tensors) -> list[int]:
        return [
            i
            for i in dict.fromkeys(operation.inputs)
            if i >= 0 and not tensors[i].constant and not tensors[i].variable
        ]


def _packed(
    tree: schema.ModelT, operation: Operation, places: dict[int, int], fed: list[int]
) -> bytes:
    source = tree.subgraphs[0]
    model, graph = schema.ModelT(), schema.SubGraphT()
    operator = _copied(source.operators[operation.index])
    model.version = tree.version
    model.description = "one operation"
    model.operatorCodes = [tree.operatorCodes[operator.opcodeIndex]]
    model.buffers = [schema.BufferT()]
    graph.tensors = []
    for old in places:
        tensor = _copied(source.tensors[old])
        buffer = tree.buffers[tensor.buffer]
        tensor.buffer = 0
        if buffer.data is not None and len(buffer.data):
            model.buffers.append(buffer)
            tensor.buffer = len(model.buffers) - 1
        graph.tensors.append(tensor)

    operator.opcodeIndex = 0
    operator.inputs = [places.get(i, -1) for i in operation.inputs]
    operator.outputs = [places.get(i, -1) for i in operation.outputs]
    operator.intermediates = [places.get(i, -1) for i in operation.intermediates]
    graph.inputs = [places[i] for i in fed]
    graph.outputs = [places[i] for i in operation.outputs if i >= 0]
    graph.operators = [operator]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _copied(record):
    """Copy an object of the schema, not what it points to."""
    copy = type(record)()
    vars(copy).update(vars(record))
    return copy


@dataclasses.dataclass(frozen=True)
class Entry:
    """A graph that a caller can ask a file for.

    Attributes:
        editor: the file that has it as its main graph.
        inputs: the names of what it takes, in order.
        outputs: the names of what it gives, in order.
    """

    editor: Editor
    inputs: Sequence[str]
    outputs: Sequence[str]


def assemble(entries: Mapping[str, Entry]) -> Editor:
    """Put files together, with a signature for the main graph of each.

    Args:
        entries: the files by the signature's key. The first one's graph becomes the main one, which
            runs where no signature is asked for. They must not be used afterwards.

    Returns:
        The file. Constants that are equal are stored once.
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
    """Add the graphs of another file, and what they refer to."""
    graphs, buffers, codes = len(tree.subgraphs), len(tree.buffers), len(tree.operatorCodes)
    for graph in other.subgraphs:
        for tensor in graph.tensors or ():
            if tensor.buffer:
                tensor.buffer += buffers
        for operator in graph.operators or ():
            operator.opcodeIndex += codes
            for name, value in vars(operator.builtinOptions or object).items():
                if name.endswith(_REFERENCE):
                    setattr(operator.builtinOptions, name, value + graphs)
    tree.subgraphs += other.subgraphs
    tree.buffers += other.buffers
    tree.operatorCodes += other.operatorCodes


def _signature(key: str, entry: Entry, index: int, graph: schema.SubGraphT):
    """Name what a graph takes and gives."""
    record = schema.SignatureDefT()
    record.signatureKey, record.subgraphIndex = key, index
    record.inputs = _named(entry.inputs, graph.inputs)
    taken = {tensor.name for tensor in graph.tensors}
    for name, tensor in zip(entry.inputs, graph.inputs, strict=True):
        if name not in taken:  # a reader without signatures finds the user's names as well
            graph.tensors[int(tensor)].name = name
    record.outputs = _named(entry.outputs, graph.outputs)
    return record


def _named(names: Sequence[str], tensors: Sequence[int]):
    """Name tensors."""
    records = []
    for name, tensor in zip(names, tensors, strict=True):
        record = schema.TensorMapT()
        record.name, record.tensorIndex = name, int(tensor)
        records.append(record)
    return records


def compact(content: bytes) -> bytes:
    """Shorten the names of a file's tensors, and drop its empty buffers.

    Args:
        content: a .tflite file.

    Returns:
        The file: it computes the same, its signatures are the same, and each tensor names the same
        layers.

    Raises:
        FlatbufferError: the file is damaged.
    """
    editor = Editor(content)
    shorten_names(editor.tree)
    share_buffers(editor.tree)
    return editor.packed()


def shorten_names(tree: schema.ModelT) -> None:
    """Shorten the names of tensors, in place.

    Args:
        tree: the file's objects.
    """
    for graph in tree.subgraphs:
        records = list(graph.tensors or ())
        names = [_text(record.name) for record in records]
        taken = set(names)
        for record, name in zip(records, names, strict=True):
            short = short_name(name)
            if short != name:
                record.name = _free_name(short, taken)
                taken.add(record.name)


def _text(name) -> str:
    """Return a tensor's name as text."""
    return (name or b"").decode(errors="replace") if isinstance(name, bytes | None) else name


def short_name(name: str) -> str:
    """Leave out the model's own name, and all but one node of each layer.

    Args:
        name: a tensor's name in a file.

    Returns:
        A name with the same ``layer_scopes``.

    Example:
    ```python
    short_name("net/conv/BiasAdd;net/conv/convolution;net/norm/mul")
    # "/conv/BiasAdd;/norm/"
    ```
    """
    first, *others = name.split(";")
    scope = layer_scope(first)
    seen = {scope}
    kept = [first if scope is None else first[first.index("/") :]]
    for node in others:
        scope = layer_scope(node)
        if scope not in seen:
            seen.add(scope)
            kept.append(f"/{scope}/")
    return ";".join(kept)


def _free_name(name, taken):
    """Return a name that no tensor has: numbered if need be, as TensorFlow numbers nodes."""
    node, *others = name.split(";")
    numbered = (";".join([f"{node}_{number}", *others]) for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in taken)
