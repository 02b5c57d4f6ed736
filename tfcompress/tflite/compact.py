"""A smaller .tflite file with the same content: what names and tables say twice is said once.

The converter names a tensor after every TensorFlow node that it fused into it, each with the
model's own name before it, and gives every tensor that is computed an empty buffer of its own. Both
are a tenth of a small file.
"""

import itertools

from ai_edge_litert import schema_py_generated as schema

from tfcompress.tflite.editing import Editor
from tfcompress.tflite.names import layer_scope

_EMPTY = 0  # the schema reserves the first buffer for tensors without content


def compact(content: bytes) -> bytes:
    """Shorten the names of a file's tensors, and drop its empty buffers.

    Args:
        content: a .tflite file.

    Returns:
        The file: it computes the same, its signatures are the same, and each tensor names the same
        layers.

    Raises:
        FlatbufferError: the file is damaged.
    """
    editor = Editor(content)
    for graph, read in zip(editor.tree.subgraphs, editor.model.subgraphs, strict=True):
        taken = {tensor.name for tensor in read.tensors}
        for record, tensor in zip(graph.tensors, read.tensors, strict=True):
            name = short_name(tensor.name)
            if name != tensor.name:
                record.name = _free_name(name, taken)
                taken.add(record.name)
    _drop_empty_buffers(editor.tree)
    return editor.packed()


def short_name(name: str) -> str:
    """Leave out the model's own name, and all but one node of each layer.

    Args:
        name: a tensor's name in a file.

    Returns:
        A name with the same ``layer_scopes``.

    Example:
    ```python
    short_name("net/conv/BiasAdd;net/conv/convolution;net/norm/mul")
    # "/conv/BiasAdd;/norm/"
    ```
    """
    first, *others = name.split(";")
    scope = layer_scope(first)
    seen = {scope}
    kept = [first if scope is None else first[first.index("/") :]]
    for node in others:
        scope = layer_scope(node)
        if scope not in seen:
            seen.add(scope)
            kept.append(f"/{scope}/")
    return ";".join(kept)


def _free_name(name, taken):
    """Return a name that no tensor has: numbered if need be, as TensorFlow numbers nodes."""
    node, *others = name.split(";")
    numbered = (";".join([f"{node}_{number}", *others]) for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in taken)


def _drop_empty_buffers(tree: schema.ModelT) -> None:
    """Let everything without content share the first buffer."""
    places, kept = {}, []
    for index, buffer in enumerate(tree.buffers):
        empty = (buffer.data is None or not len(buffer.data)) and not buffer.offset
        places[index] = _EMPTY if empty and kept else len(kept)
        if places[index] == len(kept):
            kept.append(buffer)
    tree.buffers = kept
    for graph in tree.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = places[tensor.buffer]
    for entry in tree.metadata or ():
        entry.buffer = places[entry.buffer]
    if tree.metadataBuffer is not None:
        tree.metadataBuffer = [places[index] for index in tree.metadataBuffer]
