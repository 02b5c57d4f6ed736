"""The limit that the converter sets to the cell states of LSTMs."""

from tfcompress.tflite.editing import Editor
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.lstm_forms import FUSED_LSTM


def without_cell_clip(content: bytes) -> bytes:
    """Let the cell states of fused LSTMs grow as those of Keras do.

    The converter clips them at 10: an LSTM that counts further would compute something else.

    Args:
        content: a .tflite file.

    Returns:
        The file, in which no LSTM of the main graph clips its cell state; the given one if it has
        no LSTM.

    Example:
    ```python
    with open("model_float.tflite", "rb") as file:
        content = without_cell_clip(file.read())
    ```
    """
    model = read_model(content)
    found = [each for each in model.subgraphs[0].operations if each.name == FUSED_LSTM]
    if not found:
        return content
    editor = Editor(content, model)
    for operation in found:
        editor.records[operation.index].builtinOptions.cellClip = 0.0
    return editor.packed()
