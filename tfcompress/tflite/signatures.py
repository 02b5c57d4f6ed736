"""Putting graphs together in one file, each under a signature."""

import dataclasses
from collections.abc import Mapping, Sequence

from tfcompress.compat.litert_schema import schema
from tfcompress.tflite.editing import Editor
from tfcompress.tflite.filling import share_buffers

_REFERENCE = "SubgraphIndex"  # ends the names of options that point at a graph


@dataclasses.dataclass(frozen=True)
class Entry:
    """A graph that a caller can ask a file for.

    Attributes:
        editor: the file that has it as its main graph.
        inputs: the names of what it takes, in order.
        outputs: the names of what it gives, in order.
    """

    editor: Editor
    inputs: Sequence[str]
    outputs: Sequence[str]


def assemble(entries: Mapping[str, Entry]) -> Editor:
    """Put files together, with a signature for the main graph of each.

    Args:
        entries: the files by the signature's key. The first one's graph becomes the main one, which
            runs where no signature is asked for. They must not be used afterwards.

    Returns:
        The file. Constants that are equal are stored once.
    """
    first, *others = entries.values()
    tree = first.editor.tree
    starts = [0]
    for entry in others:
        starts.append(len(tree.subgraphs))
        _append(tree, entry.editor.tree)
    tree.signatureDefs = [
        _signature(key, entry, start, tree.subgraphs[start])
        for (key, entry), start in zip(entries.items(), starts, strict=True)
    ]
    if others:
        share_buffers(tree)
    return first.editor


def _append(tree: schema.ModelT, other: schema.ModelT) -> None:
    """Add the graphs of another file, and what they refer to."""
    graphs, buffers, codes = len(tree.subgraphs), len(tree.buffers), len(tree.operatorCodes)
    for graph in other.subgraphs:
        for tensor in graph.tensors or ():
            if tensor.buffer:
                tensor.buffer += buffers
        for operator in graph.operators or ():
            operator.opcodeIndex += codes
            for name, value in vars(operator.builtinOptions or object).items():
                if name.endswith(_REFERENCE):
                    setattr(operator.builtinOptions, name, value + graphs)
    tree.subgraphs += other.subgraphs
    tree.buffers += other.buffers
    tree.operatorCodes += other.operatorCodes


def _signature(key: str, entry: Entry, index: int, graph: schema.SubGraphT):
    """Name what a graph takes and gives."""
    record = schema.SignatureDefT()
    record.signatureKey, record.subgraphIndex = key, index
    record.inputs = _named(entry.inputs, graph.inputs)
    taken = {tensor.name for tensor in graph.tensors}
    for name, tensor in zip(entry.inputs, graph.inputs, strict=True):
        if name not in taken:  # a reader without signatures finds the user's names as well
            graph.tensors[int(tensor)].name = name
    record.outputs = _named(entry.outputs, graph.outputs)
    return record


def _named(names: Sequence[str], tensors: Sequence[int]):
    """Name tensors."""
    records = []
    for name, tensor in zip(names, tensors, strict=True):
        record = schema.TensorMapT()
        record.name, record.tensorIndex = name, int(tensor)
        records.append(record)
    return records
