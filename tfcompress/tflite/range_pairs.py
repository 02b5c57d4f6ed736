"""Pairs of QUANTIZE and DEQUANTIZE in a float file: what the converter makes of fake quantization.

A pair rounds floats to a grid and gives floats again. To read the grid and take the pair out leaves
a float file, and what its tensors are to be filled with.
"""

from tfcompress.tflite.editing import Editor
from tfcompress.tflite.filling import Storage
from tfcompress.tflite.model import Subgraph, TFLiteModel


def take_out_pairs(content: bytes, model: TFLiteModel) -> tuple[bytes, dict[int, Storage]]:
    """Take the pairs out of the main graph of a float file.

    Args:
        content: the file.
        model: what ``read_model`` has read in it.

    Returns:
        (content, forms): the file without the pairs, the given one if it has none; the form that a
        pair has rounded each tensor to, by the tensor's index, which is the same in both files. Of
        several pairs on a tensor the first counts.

    Example:
    ```python
    from tfcompress.tflite.flatbuffer import read_model

    with open("model_float.tflite", "rb") as file:
        content = file.read()
    take_out_pairs(content, read_model(content))[1]  # {}
    ```
    """
    graph = model.subgraphs[0]
    pairs = _pairs(graph)
    if not pairs:
        return content, {}
    sources: dict[int, int] = {}  # of what a pair gives
    forms: dict[int, Storage] = {}
    for source, rounded, target in pairs:
        sources[target] = sources.get(source, source)
        forms.setdefault(sources[target], _form(graph, rounded))
    editor = Editor(content, model)
    for operator in editor.graph.operators:
        operator.inputs = [sources.get(int(i), int(i)) for i in operator.inputs]
    editor.graph.outputs = [sources.get(int(i), int(i)) for i in editor.graph.outputs]
    editor.remove_dead_operations()
    return editor.packed(), forms


def _pairs(graph: Subgraph) -> list[tuple[int, int, int]]:
    """List what each pair reads, rounds it to, and gives, in the order of the graph."""
    rounding = {
        operation.outputs[0]: operation.inputs[0]
        for operation in graph.operations
        if operation.name == "QUANTIZE" and graph.tensors[operation.inputs[0]].dtype == "FLOAT32"
    }
    return [
        (rounding[operation.inputs[0]], operation.inputs[0], operation.outputs[0])
        for operation in graph.operations
        if operation.name == "DEQUANTIZE" and operation.inputs[0] in rounding
    ]


def _form(graph: Subgraph, index: int) -> Storage:
    """Return the form of a tensor."""
    tensor = graph.tensors[index]
    grid = tensor.quantization
    return Storage(tensor.dtype, grid.scales, grid.zero_points, grid.axis)
