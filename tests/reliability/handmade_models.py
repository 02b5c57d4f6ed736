"""Small .tflite files that no converter is needed for."""

import flatbuffers
import numpy as np

from tfcompress.compat.litert_schema import schema


def small_models() -> list[bytes]:
    """Return files of a dense layer, in integers and in float, with a signature and metadata."""
    return [_dense_model(np.int8), _dense_model(np.float32)]


def _dense_model(dtype) -> bytes:
    integers = dtype is np.int8
    kind = schema.TensorType.INT8 if integers else schema.TensorType.FLOAT32
    kernel = np.arange(12).astype(dtype)
    model = schema.ModelT()
    model.version, model.description = 3, b"handmade"
    model.buffers = [_buffer(b""), _buffer(kernel.tobytes()), _buffer(b"1.14.0")]
    names = ((b"image", [1, 4], 0), (b"head/kernel", [3, 4], 1), (b"head/BiasAdd", [1, 3], 0))
    graph = schema.SubGraphT()
    graph.name, graph.inputs, graph.outputs = b"main", [0], [2]
    graph.tensors = [_tensor(*entry, kind, integers) for entry in names]
    code, operation = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4
    operation.inputs, operation.outputs, operation.opcodeIndex = [0, 1, -1], [2], 0
    operation.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operation.builtinOptions = schema.FullyConnectedOptionsT()
    graph.operators = [operation]
    model.operatorCodes, model.subgraphs = [code], [graph]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs, signature.outputs = [_port(b"image", 0)], [_port(b"head", 2)]
    model.signatureDefs = [signature]
    metadata = schema.MetadataT()
    metadata.name, metadata.buffer = b"min_runtime_version", 2
    model.metadata = [metadata]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _buffer(content: bytes):
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8) if content else None
    return buffer


def _tensor(name, shape, buffer, kind, integers):
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer, tensor.type = name, shape, buffer, kind
    if integers:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [0]
    return tensor


def _port(name, index):
    port = schema.TensorMapT()
    port.name, port.tensorIndex = name, index
    return port
