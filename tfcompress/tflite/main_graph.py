"""Which graph of a .tflite file is the main one: the first, which runs where no signature is asked.

The converter orders the graphs of several signatures by the alphabet.
"""

from ai_edge_litert import schema_py_generated as schema

from tfcompress.tflite.editing import Editor

_REFERENCE = "SubgraphIndex"  # ends the names of options that point at a graph


def with_main_signature(content: bytes, key: str) -> bytes:
    """Make the graph of a signature the main one.

    Args:
        content: a .tflite file.
        key: the signature's key; the file has it.

    Returns:
        The file with that graph first; the given one if it is.

    Raises:
        FlatbufferError: the file is damaged.
    """
    editor = Editor(content)
    (chosen,) = (entry.subgraph for entry in editor.model.signatures if entry.key == key)
    if chosen == 0:
        return content
    order = [chosen, *(i for i in range(len(editor.tree.subgraphs)) if i != chosen)]
    places = {old: new for new, old in enumerate(order)}
    editor.tree.subgraphs = [editor.tree.subgraphs[index] for index in order]
    for signature in editor.tree.signatureDefs:
        signature.subgraphIndex = places[signature.subgraphIndex]
    editor.tree.signatureDefs.sort(key=lambda signature: signature.subgraphIndex)
    for graph in editor.tree.subgraphs:
        for operator in graph.operators or ():
            _redirect(operator, places)
    return editor.packed()


def _redirect(operator: schema.OperatorT, places: dict[int, int]) -> None:
    for options in (operator.builtinOptions, operator.builtinOptions2):
        for name, value in vars(options).items() if options is not None else ():
            if name.endswith(_REFERENCE) and value in places:
                setattr(options, name, places[value])
