"""In which order a file has its graphs, and a graph what it takes and gives: the model's.

The converter orders graphs by their signatures' alphabet, and inputs and outputs as it finds them.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from ai_edge_litert import schema_py_generated as schema

from tfcompress.tflite.editing import Editor
from tfcompress.tflite.flatbuffer import read_model

_REFERENCE = "SubgraphIndex"  # ends the names of options that point at a graph


@dataclasses.dataclass(frozen=True)
class PortNames:
    """The names of what a graph takes and gives, in the model's order."""

    inputs: Sequence[str]
    outputs: Sequence[str]


def in_order(content: bytes, entries: Mapping[str, PortNames]) -> bytes:
    """Give a file the order of its model.

    Args:
        content: a .tflite file.
        entries: what its signatures take and give, by key. The first one's graph becomes the main
            one, which runs where no signature is asked for.

    Returns:
        The file in that order; the given one if it has it.

    Raises:
        FlatbufferError: the file is damaged.
    """
    main = next(iter(entries))
    model = read_model(content)
    if all(
        (entry.subgraph == 0 or entry.key != main)
        and _is_in_order(model.subgraphs[entry.subgraph], entry, entries[entry.key])
        for entry in model.signatures
    ):
        return content
    editor = Editor(content)
    for entry, record in zip(editor.model.signatures, editor.tree.signatureDefs, strict=True):
        names, graph = entries[entry.key], editor.tree.subgraphs[entry.subgraph]
        graph.inputs = _ordered(graph.inputs, entry.inputs, names.inputs)
        graph.outputs = _ordered(graph.outputs, entry.outputs, names.outputs)
        record.inputs = _sorted_records(record.inputs, names.inputs)
        record.outputs = _sorted_records(record.outputs, names.outputs)
    (chosen,) = (entry.subgraph for entry in editor.model.signatures if entry.key == main)
    if chosen:
        _make_main(editor.tree, chosen)
    return editor.packed()


def _is_in_order(graph, entry, names: PortNames) -> bool:
    sides = (
        (graph.inputs, entry.inputs, names.inputs),
        (graph.outputs, entry.outputs, names.outputs),
    )
    return all(
        list(tensors) == _ordered(tensors, ports, wanted)
        and list(ports) == sorted(ports, key=_place(wanted))
        for tensors, ports, wanted in sides
    )


def _ordered(tensors: Iterable[int], ports: Mapping[str, int], names: Sequence[str]) -> list[int]:
    """Order the tensors on one side of a graph; as they are where the names say otherwise."""
    ordered = [ports[name] for name in names if name in ports]
    tensors = [int(tensor) for tensor in tensors]
    return ordered if sorted(ordered) == sorted(tensors) else tensors


def _sorted_records(records: list[schema.TensorMapT], names: Sequence[str]):
    place = _place(names)
    return sorted(records, key=lambda record: place(record.name.decode()))


def _place(names: Sequence[str]):
    places = {name: place for place, name in enumerate(names)}
    return lambda name: places.get(name, len(places))


def _make_main(tree: schema.ModelT, chosen: int) -> None:
    order = [chosen, *(i for i in range(len(tree.subgraphs)) if i != chosen)]
    places = {old: new for new, old in enumerate(order)}
    tree.subgraphs = [tree.subgraphs[index] for index in order]
    for signature in tree.signatureDefs:
        signature.subgraphIndex = places[signature.subgraphIndex]
    tree.signatureDefs.sort(key=lambda signature: signature.subgraphIndex)
    for graph in tree.subgraphs:
        for operator in graph.operators or ():
            _redirect(operator, places)


def _redirect(operator: schema.OperatorT, places: dict[int, int]) -> None:
    for options in (operator.builtinOptions, operator.builtinOptions2):
        for name, value in vars(options).items() if options is not None else ():
            if name.endswith(_REFERENCE) and value in places:
                setattr(options, name, places[value])
