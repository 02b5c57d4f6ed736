"""A smaller .tflite file with the same content: what names and tables say twice is said once.

The converter names a tensor after every TensorFlow node that it fused into it, each with the
model's own name before it, and gives every tensor that is computed an empty buffer of its own. Both
are a tenth of a small file.
"""

import itertools

from tfcompress.compat.litert_schema import schema
from tfcompress.tflite.editing import Editor
from tfcompress.tflite.filling import share_buffers
from tfcompress.tflite.names import layer_scope


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
    shorten_names(editor.tree)
    share_buffers(editor.tree)
    return editor.packed()


def shorten_names(tree: schema.ModelT) -> None:
    """Shorten the names of tensors, in place.

    Args:
        tree: the file's objects.
    """
    for graph in tree.subgraphs:
        records = list(graph.tensors or ())
        names = [_text(record.name) for record in records]
        taken = set(names)
        for record, name in zip(records, names, strict=True):
            short = short_name(name)
            if short != name:
                record.name = _free_name(short, taken)
                taken.add(record.name)


def _text(name) -> str:
    """Return a tensor's name as text."""
    return (name or b"").decode(errors="replace") if isinstance(name, bytes | None) else name


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
