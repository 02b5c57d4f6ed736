"""Rewriting a .tflite file so that older runtimes and accelerators take it, its meaning kept.

Each rewrite takes a file and returns a new one and what was changed; the file itself and nothing
where there is nothing to change.
"""

from collections.abc import Callable

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress.tflite.flatbuffer import DAMAGE, IDENTIFIER, read_model
from tfcompress.tflite.model import FlatbufferError, Operation, Tensor, TFLiteModel

Rewrite = Callable[[bytes], tuple[bytes, tuple[str, ...]]]

# Inputs that say what shape the output has.
_SHAPE_INPUTS = {"RESHAPE": 1, "TRANSPOSE_CONV": 0, "BROADCAST_TO": 1, "FILL": 0}
_BOUNDS = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}


def fix_batch_to_one(content: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Fix a free batch size to 1, and replace shapes computed from it by constants.

    A free batch leaves SHAPE, STRIDED_SLICE and PACK operations that compute the shapes of reshapes
    and transposed convolutions; accelerators take none of them.

    Args:
        content: a .tflite file.

    Returns:
        (file, changes): equal to the given one on batches of 1.

    Raises:
        FlatbufferError: the file is damaged.
    """
    editor = _Editor(content)
    graph = editor.model.subgraphs[0] if editor.model.subgraphs else None
    if graph is None or not _only_the_batch_is_free(graph.tensors):
        return content, ()
    changes = []
    for tensor in graph.tensors:
        if -1 in tensor.shape_signature:
            editor.graph.tensors[tensor.index].shapeSignature = None
            changes.append(tensor.name)
    for operation in graph.operations:
        place = _SHAPE_INPUTS.get(operation.name)
        if place is None or place >= len(operation.inputs) or not operation.outputs:
            continue
        given = operation.inputs[place]
        if given >= 0 and not graph.tensors[given].constant:
            output = graph.tensors[operation.outputs[0]]
            shape = np.array(output.shape, np.int32)
            inputs = list(operation.inputs)
            inputs[place] = editor.add_constant(output.name + "/shape", shape, "INT32")
            editor.records[operation.index].inputs = inputs
    if not changes:
        return content, ()
    removed = editor.remove_dead_operations()
    return editor.packed(), (
        f"the batch size is fixed to 1 ({len(changes)} tensors), "
        f"{removed} operations that computed shapes are gone",
    )


def split_dense_scales(content: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Apply the channels' scales of a dynamic range dense layer after it instead of inside.

    FULLY_CONNECTED of version 12 multiplies by one scale a channel, which runtimes before 2.17 do
    not know. The same product with the scale 1, times a vector of the scales, means the same.

    Args:
        content: a .tflite file.

    Returns:
        (file, changes): equal to the given one up to the rounding of floats.

    Raises:
        FlatbufferError: the file is damaged.
    """
    editor = _Editor(content)
    changes = []
    for operation in editor.operations("FULLY_CONNECTED", inputs=2):
        tensors = editor.model.subgraphs[0].tensors
        data, kernel = (tensors[i] for i in operation.inputs[:2])
        scales = kernel.quantization.scales if kernel.quantization else ()
        if data.dtype != "FLOAT32" or kernel.dtype != "INT8" or len(scales) < 2:
            continue
        bias = operation.inputs[2] if len(operation.inputs) > 2 else -1
        output = tensors[operation.outputs[0]]
        record = editor.records[operation.index]
        unscaled = editor.add_tensor(kernel.name, kernel.shape, "INT8", kernel.buffer)
        quantization = schema.QuantizationParametersT()
        quantization.scale, quantization.zeroPoint = [1.0], [0]
        editor.graph.tensors[unscaled].quantization = quantization
        product = editor.add_tensor(output.name + "/product", output.shape, "FLOAT32")
        vector = editor.add_constant(
            output.name + "/scales", np.array(scales, np.float32), "FLOAT32"
        )
        options = record.builtinOptions
        activation, options.fusedActivationFunction = options.fusedActivationFunction, 0
        record.inputs, record.outputs = [data.index, unscaled, -1], [product]
        record.opcodeIndex = editor.code(
            "FULLY_CONNECTED", 9 if options.asymmetricQuantizeInputs else 3
        )
        scaled = output.index
        if bias >= 0:
            scaled = editor.add_tensor(output.name + "/scaled", output.shape, "FLOAT32")
        multiply, add = schema.MulOptionsT(), schema.AddOptionsT()
        (add if bias >= 0 else multiply).fusedActivationFunction = activation
        editor.insert_after(record, "MUL", [product, vector], scaled, multiply)
        if bias >= 0:
            editor.insert_after(editor.last, "ADD", [scaled, bias], output.index, add)
        changes.append(f"the scales of {output.name!r} are applied after the product")
    return (editor.packed(), tuple(changes)) if changes else (content, ())


def split_transposed_activation(content: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Take the activation out of a transposed convolution.

    TRANSPOSE_CONV of version 4 has an activation of its own, which runtimes before 2.13 and the
    Edge TPU do not know. A quantized output whose range ends where the activation does needs none;
    a float one gets an operation of its own.

    Args:
        content: a .tflite file.

    Returns:
        (file, changes): equal to the given one.

    Raises:
        FlatbufferError: the file is damaged.
    """
    editor = _Editor(content)
    changes = []
    for operation in editor.operations("TRANSPOSE_CONV", inputs=3):
        activation = operation.options.get("fused_activation_function", "NONE")
        output = editor.model.subgraphs[0].tensors[operation.outputs[0]]
        if operation.version != 4 or activation not in ("NONE", *_BOUNDS):
            continue
        implied = activation == "NONE" or _implied(activation, output)
        if not implied and output.dtype != "FLOAT32":
            continue
        record = editor.records[operation.index]
        record.builtinOptions.fusedActivationFunction = 0
        record.opcodeIndex = editor.code("TRANSPOSE_CONV", 3)
        if not implied:
            inner = editor.add_tensor(output.name + "/convolved", output.shape, "FLOAT32")
            record.outputs = [inner]
            editor.insert_after(record, activation, [inner], output.index, None)
        changes.append(f"the activation of {output.name!r} is taken out of its convolution")
    return (editor.packed(), tuple(changes)) if changes else (content, ())


REWRITES: tuple[Rewrite, ...] = (
    fix_batch_to_one,
    split_dense_scales,
    split_transposed_activation,
)


def _only_the_batch_is_free(tensors: tuple[Tensor, ...]) -> bool:
    """Tell whether every free dimension is a first one, which the file sets to 1."""
    return all(
        -1 not in (*tensor.shape, *tensor.shape_signature[1:])
        and (tensor.shape_signature[:1] != (-1,) or tensor.shape[:1] == (1,))
        for tensor in tensors
    )


def _implied(activation: str, output: Tensor) -> bool:
    """Tell whether the range of a quantized tensor does what an activation does."""
    quantization = output.quantization
    if quantization is None or len(quantization.scales) != 1 or output.dtype != "INT8":
        return False
    scale, zero_point = quantization.scales[0], quantization.zero_points[0]
    low, high = _BOUNDS[activation]
    ends = scale * (-128 - zero_point), scale * (127 - zero_point)
    return ends[0] >= low - scale / 2 and ends[1] <= high + scale / 2


class _Editor:
    """A file taken apart: the schema's objects, and what was read from them."""

    def __init__(self, content: bytes):
        self.model: TFLiteModel = read_model(content)
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
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.tree.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())


def _indices(values) -> set[int]:
    return set() if values is None else {int(value) for value in values}
