"""Rewriting a .tflite file without a change of its meaning.

The first three rewrites are for older runtimes and accelerators: each takes a file and returns a
new one and what was changed; the same file and nothing if there is nothing to change.
"""

import math
from collections.abc import Callable

import numpy as np

from tfcompress.tflite.editing import Editor, indices
from tfcompress.tflite.editing import record as new_record
from tfcompress.tflite.filling import CELL_STATE, FUSED_LSTM, HIDDEN_STATE, Storage
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import Tensor, TFLiteModel
from tfcompress.tflite.operations import BOUNDS, support

Rewrite = Callable[[bytes], tuple[bytes, tuple[str, ...]]]

# Inputs that say what shape the output has.
_SHAPE_INPUTS = {"RESHAPE": 1, "TRANSPOSE_CONV": 0, "BROADCAST_TO": 1, "FILL": 0}


def fix_batch_to_one(content: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Fix a free batch size to 1, and replace shapes computed from it by constants.

    A free batch leaves SHAPE, STRIDED_SLICE and PACK operations that compute the shapes of reshapes
    and transposed convolutions; accelerators take none of them.
    """
    editor = Editor(content)
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
    not know. The same product with the scale 1, times a vector of the scales, means the same up to
    the rounding of floats.
    """
    editor = Editor(content)
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
        editor.graph.tensors[unscaled].quantization = new_record(
            "QuantizationParameters", scale=[1.0], zeroPoint=[0]
        )
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
        multiply, add = new_record("MulOptions"), new_record("AddOptions")
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
    """
    editor = Editor(content)
    changes = []
    for operation in editor.operations("TRANSPOSE_CONV", inputs=3):
        activation = operation.options.get("fused_activation_function", "NONE")
        output = editor.model.subgraphs[0].tensors[operation.outputs[0]]
        if operation.version != 4 or activation not in ("NONE", *BOUNDS):
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
    """Return whether every free dimension is a first one, which the file sets to 1."""
    return all(
        -1 not in (*tensor.shape, *tensor.shape_signature[1:])
        and (tensor.shape_signature[:1] != (-1,) or tensor.shape[:1] == (1,))
        for tensor in tensors
    )


def _implied(activation: str, output: Tensor) -> bool:
    """Return whether the range of a quantized tensor does what an activation does."""
    quantization = output.quantization
    if quantization is None or len(quantization.scales) != 1 or output.dtype != "INT8":
        return False
    scale, zero_point = quantization.scales[0], quantization.zero_points[0]
    low, high = BOUNDS[activation]
    ends = scale * (-128 - zero_point), scale * (127 - zero_point)
    return ends[0] >= low - scale / 2 and ends[1] <= high + scale / 2


def remove_quantization_pairs(
    content: bytes, model: TFLiteModel
) -> tuple[bytes, dict[int, Storage]]:
    """Remove the pairs of QUANTIZE and DEQUANTIZE that the converter makes of fake quantization.

    Returns:
        (content, forms): the file without the pairs, unchanged if it has none; the form that a
        pair rounded each tensor to, by the tensor's index, which is the same in both files. Of
        several pairs on a tensor, the first counts.
    """
    graph = model.subgraphs[0]
    rounded = {
        operation.outputs[0]: operation.inputs[0]
        for operation in graph.operations
        if operation.name == "QUANTIZE" and graph.tensors[operation.inputs[0]].dtype == "FLOAT32"
    }
    sources: dict[int, int] = {}  # of what a pair returns
    forms: dict[int, Storage] = {}
    for operation in graph.operations:
        if operation.name == "DEQUANTIZE" and operation.inputs[0] in rounded:
            source = rounded[operation.inputs[0]]
            source = sources[operation.outputs[0]] = sources.get(source, source)
            integers = graph.tensors[operation.inputs[0]]
            if (grid := integers.quantization) is not None:
                form = Storage(integers.dtype, grid.scales, grid.zero_points, grid.axis)
                forms.setdefault(source, form)
    if not forms:
        return content, {}
    editor = Editor(content, model)
    for operator in editor.graph.operators:
        operator.inputs = [sources.get(i, i) for i in indices(operator.inputs)]
    editor.graph.outputs = [sources.get(i, i) for i in indices(editor.graph.outputs)]
    editor.remove_dead_operations()
    return editor.packed(), forms


def with_lstms_of_keras(content: bytes, model: TFLiteModel) -> tuple[bytes, TFLiteModel]:
    """Let fused LSTMs compute what those of Keras do.

    The converter limits their cell states to 10, and takes the state that they start from for a
    kernel of zeros of the same shape, which would change from step to step.
    """
    found = [each for each in model.subgraphs[0].operations if each.name == FUSED_LSTM]
    if not found:
        return content, model
    editor = Editor(content, model)
    # One LSTM's state may have been taken for a kernel of another.
    states = {i for each in found for i in each.inputs[HIDDEN_STATE : CELL_STATE + 1]}
    for operation in found:
        record = editor.records[operation.index]
        record.builtinOptions.cellClip = 0.0
        record.inputs = list(operation.inputs)
        for position, index in enumerate(operation.inputs[:HIDDEN_STATE]):
            if index in states:
                tensor = model.subgraphs[0].tensors[index]
                zeros = np.zeros(tensor.shape, np.float32)
                record.inputs[position] = editor.add_constant(tensor.name, zeros, tensor.dtype)
    content = editor.packed()
    return content, read_model(content)


def with_biases_as_vectors(content: bytes, model: TFLiteModel) -> tuple[bytes, TFLiteModel]:
    """Give biases one axis, as most kernels want them.

    The converter takes what a model adds behind a kernel for a bias, with all of its axes.
    """
    graph = model.subgraphs[0]
    places = {each.index: getattr(support(each.name), "bias", None) for each in graph.operations}
    read_otherwise = {
        index
        for operation in graph.operations
        for place, index in enumerate(operation.inputs)
        if place != places[operation.index]
    }
    found = [
        (operation, place, graph.tensors[operation.inputs[place]])
        for operation in graph.operations
        if (place := places[operation.index]) is not None
        and len(operation.inputs) > place
        and operation.inputs[place] >= 0
        and len(graph.tensors[operation.inputs[place]].shape) > 1
    ]
    if not found:
        return content, model
    editor = Editor(content, model)
    for operation, place, tensor in found:
        shape = [math.prod(tensor.shape)]
        if tensor.index in read_otherwise:
            inputs = editor.records[operation.index].inputs = list(operation.inputs)
            inputs[place] = editor.add_tensor(tensor.name, shape, tensor.dtype, tensor.buffer)
        else:
            editor.graph.tensors[tensor.index].shape = shape
    content = editor.packed()
    return content, read_model(content)
