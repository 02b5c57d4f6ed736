"""From a file with 16-bit ranges to one with 16-bit activations and 8-bit weights.

The TFLite converter makes no sound 16-bit file of fake quantization: it writes 32-bit biases, which
kernels read as 64-bit ones, and refuses softmax, sigmoid, tanh and concatenation. But without any
optimization it writes each fake quantization down, as a pair of QUANTIZE and DEQUANTIZE. So the
pairs are taken out, their ranges are noted where calibration notes what it observed, and the
quantizer that the converter uses after calibration does the rest.
"""

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tensorflow.lite.python.optimize.calibrator import Calibrator

from tfcompress.quantization.placing.placement import SAME_SCALE
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.conversion import ConversionError
from tfcompress.tflite.editing import Editor

_BIAS_INPUT = 2
_LARGEST = 2**15 - 1


def quantize_to_int16(content: bytes) -> bytes:
    """Make the activations of a file 16-bit and its weights 8-bit integers.

    Args:
        content: a float .tflite file with ranges for 16 bits, converted without optimizations from
            a model with symmetric fake quantization, and with weights that lie on an 8-bit grid.

    Returns:
        The file. It takes and gives floats. Operations without a 16-bit kernel stay in float.

    Raises:
        ConversionError: a tensor has no range.
    """
    quantizer = Calibrator(_with_noted_ranges(content))._calibrator
    float32, int16, int64 = (np.dtype(name).num for name in ("float32", "int16", "int64"))
    allow_float, per_tensor, dense_per_tensor = True, False, True
    try:
        return quantizer.QuantizeModel(
            float32, float32, allow_float, int16, int64, per_tensor, dense_per_tensor
        )
    except RuntimeError as error:
        raise ConversionError(f"The quantizer for 16 bits refused the model: {error}") from error


def _with_noted_ranges(content):
    editor = Editor(content)
    graph = editor.model.subgraphs[0]
    _keep_biases_apart(editor, graph)
    rounded = {}  # the tensor before a QUANTIZE, by the one behind it or behind its DEQUANTIZE
    for operation in graph.operations:
        if operation.name == "QUANTIZE":
            source, target = operation.inputs[0], operation.outputs[0]
            source = rounded.get(source, source)
            limit = graph.tensors[target].quantization.scales[0] * _LARGEST
            _note(editor.graph.tensors[source], -limit, limit)
            rounded[target] = source
        elif operation.name == "DEQUANTIZE" and operation.inputs[0] in rounded:
            rounded[operation.outputs[0]] = rounded[operation.inputs[0]]
    for record in editor.records:
        record.inputs = [rounded.get(int(index), int(index)) for index in record.inputs]
    editor.graph.outputs = [rounded.get(int(i), int(i)) for i in editor.graph.outputs]
    for signature in editor.tree.signatureDefs or ():
        for output in signature.outputs or ():
            output.tensorIndex = rounded.get(output.tensorIndex, output.tensorIndex)
    editor.remove_dead_operations()
    movers = [operation for operation in graph.operations if operation.name in SAME_SCALE]
    for operation in movers:
        record = editor.records[operation.index]
        _pass_range_on(editor.graph.tensors, record.inputs, record.outputs)
    for operation in reversed(movers):  # the converter may have rounded behind a reshape
        record = editor.records[operation.index]
        data = [i for i in record.inputs if i >= 0 and graph.tensors[i].dtype == "FLOAT32"]
        _pass_range_on(editor.graph.tensors, record.outputs, data)
    return editor.packed()


def _note(tensor, smallest, largest):
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.min, tensor.quantization.max = [smallest], [largest]


def _pass_range_on(tensors, givers, takers):
    """Note the range of tensors on others, where these have none."""
    quantizations = [tensors[int(index)].quantization for index in givers if int(index) >= 0]
    known = [found for found in quantizations if found is not None and found.min is not None]
    for index in takers if known else ():
        taken = tensors[int(index)].quantization
        if taken is None or taken.min is None:
            _note(tensors[int(index)], known[0].min[0], known[0].max[0])


def _keep_biases_apart(editor, graph):
    """Give each operation a bias of its own: the quantizer scales a shared one but once."""
    seen = set()
    for operation in graph.operations:
        if len(operation.inputs) <= _BIAS_INPUT:
            continue
        index = operation.inputs[_BIAS_INPUT]
        tensor = graph.tensors[index] if index >= 0 else None
        if tensor is None or not tensor.constant or tensor.dtype != "FLOAT32":
            continue
        if index in seen:
            value = constant_value(editor.model, tensor)
            inputs = list(operation.inputs)
            inputs[_BIAS_INPUT] = editor.add_constant(tensor.name + "/own", value, "FLOAT32")
            editor.records[operation.index].inputs = inputs
        seen.add(index)
