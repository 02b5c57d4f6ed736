"""Writes small .tflite files by hand, so that every byte of a test's file is known."""

import flatbuffers
import numpy as np

from tfcompress.compat.litert_schema import schema


def tensor(name, shape, dtype="FLOAT32", value=None, scales=(), zero_points=(), axis=0, **fields):
    """Describe a tensor; ``value`` makes it a constant (an array, or raw bytes)."""
    record = schema.TensorT()
    record.name, record.shape = name, list(shape)
    record.type = getattr(schema.TensorType, dtype)
    if scales:
        record.quantization = schema.QuantizationParametersT()
        record.quantization.scale = list(scales)
        record.quantization.zeroPoint = list(zero_points)
        record.quantization.quantizedDimension = axis
    for field, content in fields.items():
        setattr(record, field, content)
    raw = value.tobytes() if isinstance(value, np.ndarray) else value
    return record, raw


def operation(name, inputs, outputs, version=1, custom_code=None, options=None):
    """Describe an operation; ``options`` is an object of the schema."""
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version, code.customCode = version, custom_code
    record = schema.OperatorT()
    record.inputs, record.outputs = list(inputs), list(outputs)
    if options is not None:
        kind = type(options).__name__.removesuffix("T")
        record.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        record.builtinOptions = options
    return record, code


def graph(tensors, operations, inputs, outputs, name="main"):
    """Describe a graph."""
    return name, tensors, operations, list(inputs), list(outputs)


def file(*graphs, signatures=()):
    """Write a file of graphs; signatures are (key, graph, {name: tensor}, {name: tensor})."""
    model = schema.ModelT()
    model.version, model.description = 3, "handmade"
    model.buffers, model.operatorCodes, model.subgraphs = [schema.BufferT()], [], []
    for name, tensors, operations, inputs, outputs in graphs:
        subgraph = schema.SubGraphT()
        subgraph.name, subgraph.inputs, subgraph.outputs = name, inputs, outputs
        subgraph.tensors, subgraph.operators = [], []
        for record, raw in tensors:
            if raw is not None:
                buffer = schema.BufferT()
                buffer.data = np.frombuffer(raw, np.uint8)
                model.buffers.append(buffer)
                record.buffer = len(model.buffers) - 1
            subgraph.tensors.append(record)
        for record, code in operations:
            model.operatorCodes.append(code)
            record.opcodeIndex = len(model.operatorCodes) - 1
            subgraph.operators.append(record)
        model.subgraphs.append(subgraph)
    model.signatureDefs = [_signature(*entry) for entry in signatures]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _signature(key, subgraph, inputs, outputs):
    record = schema.SignatureDefT()
    record.signatureKey, record.subgraphIndex = key, subgraph
    record.inputs, record.outputs = _names(inputs), _names(outputs)
    return record


def _names(ports):
    records = []
    for name, index in ports.items():
        record = schema.TensorMapT()
        record.name, record.tensorIndex = name, index
        records.append(record)
    return records
