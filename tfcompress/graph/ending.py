"""The layers that make a model's outputs."""

import keras

from tfcompress.compat.keras_graphs import nodes_of, produced_by
from tfcompress.graph.wrapper import unwrap


def output_layers(model: keras.Model) -> list[keras.Layer]:
    """Find the layers whose weights make a model's outputs: from the end, the first with weights.

    Args:
        model: a built model; in nested ones the search goes on.

    Returns:
        The layers; none of a subclassed model, whose ``call`` does not show them.
    """
    found: dict[int, keras.Layer] = {}
    seen: set[int] = set()

    def visit(tensor):
        if id(tensor) in seen:
            return
        seen.add(id(tensor))
        operation, node_index, place = produced_by(tensor)
        inner = getattr(operation, "outputs", None) if isinstance(operation, keras.Model) else None
        if inner:
            visit(inner[place])
        elif getattr(operation, "trainable_variables", None):
            found[id(operation)] = operation
        else:
            for before in nodes_of(operation)[node_index].input_tensors:
                visit(before)

    for tensor in getattr(unwrap(model), "outputs", None) or []:
        visit(tensor)
    return list(found.values())
