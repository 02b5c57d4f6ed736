"""Taking a .tflite file apart, changing it, and putting it together again."""

import flatbuffers
import numpy as np

from tfcompress.compat.litert_schema import schema
from tfcompress.tflite.associated_files import append_files, appended_files
from tfcompress.tflite.flatbuffer import DAMAGE, IDENTIFIER, read_model
from tfcompress.tflite.model import FlatbufferError, Operation, TFLiteModel

_ALIGNMENT = 16


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
