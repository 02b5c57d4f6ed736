"""Where a weight meets the data: what tells a kernel from a table that is added."""

from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

from tfcompress.compat.keras_layers import build_shapes
from tfcompress.compat.tensorflow_graphs import called_graph

_SHAPES = frozenset({"Shape", "ShapeN", "Size", "Rank"})


def operations_on_data(
    model: keras.Model, variables: Sequence[keras.Variable]
) -> list[frozenset[str]] | None:
    """Find the TensorFlow operations in which weights first meet the data of a model.

    On the way there a weight may be reshaped, cast, scaled or combined with other weights.

    Args:
        model: a built model.
        variables: the weights.

    Returns:
        For each weight the types of these operations, such as "MatMul" or "AddV2"; None where the
        model cannot be traced.
    """
    specs = _input_specs(model)
    if specs is None:
        return None
    try:
        traced = tf.function(
            lambda inputs: model(inputs, training=False), autograph=False
        ).get_concrete_function(specs)
    except Exception:  # whatever a user's layer raises on inputs of unknown batch size
        return None
    captures = {id(outer): inner for outer, inner in traced.graph.captures}
    data = set(map(id, traced.graph.inputs)) - set(map(id, captures.values()))
    found = []
    for variable in variables:
        start = captures.get(id(getattr(variable.value, "handle", None)))
        weights = set() if start is None else {id(start)}
        found.append(frozenset(_meetings(traced.graph, weights, data)))
    return found


def _input_specs(model):
    """Return the specifications of a model's inputs; None where only a call would tell."""
    if getattr(model, "inputs", None):
        inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
        return keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), inputs)
    shapes = build_shapes(model)
    if len(shapes) != 1 or not isinstance(next(iter(shapes.values())), tuple):
        return None
    return tf.TensorSpec((None, *next(iter(shapes.values()))[1:]), model.input_dtype)


def _meetings(graph, weights: set[int], data: set[int]) -> Iterator[str]:
    """Yield the types of the operations that read both a weight and the data."""
    weights, data = set(weights), set(data)
    for operation in graph.get_operations():
        reads = [id(tensor) for tensor in operation.inputs]
        of_weights, of_data = weights.intersection(reads), data.intersection(reads)
        inner = list(_inner_graphs(operation)) if of_weights else []
        for body, varies in inner:
            arguments = [id(tensor) for tensor in body.inputs]
            yield from _meetings(
                body,
                {a for a, r in zip(arguments, reads, strict=True) if r in weights} - varies,
                {a for a, r in zip(arguments, reads, strict=True) if r in data} | varies,
            )
        outputs = map(id, operation.outputs)
        if of_data:
            if of_weights and not inner:
                yield operation.type
            data.update(outputs if operation.type not in _SHAPES else ())
        elif of_weights:
            weights.update(outputs)


def _inner_graphs(operation):
    """Yield each graph that an operation calls, and the arguments that change as it loops."""
    for name in ("body", "f", "then_branch", "else_branch"):
        if name not in operation.node_def.attr:
            continue
        body = called_graph(operation, name)
        if body is None or len(body.inputs) != len(operation.inputs):
            continue
        varies = set()
        if name == "body":
            pairs = zip(body.inputs, body.outputs, strict=True)
            varies = {id(before) for before, after in pairs if not _same(before, after)}
        yield body, varies


def _same(before, after):
    while after.op.type == "Identity":
        after = after.op.inputs[0]
    return after is before
