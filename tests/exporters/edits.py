"""Changes a .tflite file's content, to see whether the change is found."""

import flatbuffers
import numpy as np

from tfcompress.compat.litert_schema import schema
from tfcompress.tflite.flatbuffer import read_model


def tree_of(content: bytes) -> schema.ModelT:
    """Unpack a file."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def packed(tree: schema.ModelT) -> bytes:
    """Pack it again."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_version(content: bytes, operation: str, version: int) -> bytes:
    """Raise an operation's version."""
    tree = tree_of(content)
    for code in tree.operatorCodes:
        if code.builtinCode == getattr(schema.BuiltinOperator, operation):
            code.version = version
    return packed(tree)


def with_negated_kernel(content: bytes, operation: str) -> bytes:
    """Negate the int8 kernel of the first operation of a name."""
    graph = read_model(content).subgraphs[0]
    found = next(op for op in graph.operations if op.name == operation)
    tree = tree_of(content)
    buffer = tree.buffers[graph.tensors[found.inputs[1]].buffer]
    values = np.frombuffer(bytes(buffer.data), np.int8)
    buffer.data = np.clip(-values.astype(np.int16), -127, 127).astype(np.int8).view(np.uint8)
    return packed(tree)
