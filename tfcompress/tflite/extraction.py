"""Cutting one operation out of a .tflite file, as a file of its own."""

import flatbuffers

from tfcompress.compat.litert_schema import schema
from tfcompress.tflite.flatbuffer import DAMAGE, IDENTIFIER
from tfcompress.tflite.model import FlatbufferError, Operation, TFLiteModel


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
