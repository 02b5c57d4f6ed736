"""Scales of an integer LSTM operation that the converter gets wrong.

An UNIDIRECTIONAL_SEQUENCE_LSTM gives its hidden state as its output, so the state, the inner tensor
that the state is computed in and the output must share one scale. Where what follows asks for
another one (a concatenation, or the last step with a range of its own), the converter changes the
output's alone, and the kernel then takes integers of one scale for those of another.

The kernel computes the hyperbolic tangent of a cell state in steps of 2^-15 or more. For a state
that stays within half the unit the converter chooses finer ones, and the kernel computes nothing.

Source: ``PopulateQuantizedLstmParams8x8_16`` in
tensorflow/lite/kernels/unidirectional_sequence_lstm.cc, ``PortableApplyTanh`` in
tensorflow/lite/kernels/internal/reference/portable_tensor_utils.cc.
"""

from tfcompress.tflite.editing import Editor
from tfcompress.tflite.model import Operation, TFLiteModel

_OPERATION = "UNIDIRECTIONAL_SEQUENCE_LSTM"
_STATE_INPUT, _CELL_INPUT = 18, 19
_HIDDEN_INTERMEDIATE = 4
_FINEST_CELL_STEP = 2.0**-15


def repair_lstm_scales(content: bytes) -> bytes:
    """Make the scales of integer LSTM operations what their kernel expects.

    The kernel derives its multipliers from these scales when it is prepared; no stored number
    depends on them.

    Args:
        content: a .tflite file.

    Returns:
        The file with the hidden states' scales set to those of the outputs, and too fine ones of
        the cell states to 2^-15; the given one if they are right.

    Raises:
        FlatbufferError: the file is damaged.
    """
    editor = Editor(content)
    changed = False
    for operation in _integer_lstms(editor.model):
        read = editor.model.subgraphs[operation.subgraph].tensors
        written = editor.tree.subgraphs[operation.subgraph].tensors
        output, cell = operation.outputs[0], operation.inputs[_CELL_INPUT]
        hidden = operation.inputs[_STATE_INPUT], operation.intermediates[_HIDDEN_INTERMEDIATE]
        for index in hidden:
            if read[index].quantization != read[output].quantization:
                written[index].quantization = written[output].quantization
                changed = True
        if read[cell].quantization.scales[0] < _FINEST_CELL_STEP:
            written[cell].quantization.scale = [_FINEST_CELL_STEP]
            changed = True
    return editor.packed() if changed else content


def _integer_lstms(model: TFLiteModel) -> list[Operation]:
    return [
        operation
        for graph in model.subgraphs
        for operation in graph.operations
        if operation.name == _OPERATION
        and graph.tensors[operation.outputs[0]].dtype == "INT8"
        and graph.tensors[operation.inputs[_CELL_INPUT]].dtype == "INT16"
        and len(operation.intermediates) > _HIDDEN_INTERMEDIATE
    ]
