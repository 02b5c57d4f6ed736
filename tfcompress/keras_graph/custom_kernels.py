"""Kernels of custom layers: which of their weights the data are multiplied with."""

import dataclasses
from collections.abc import Iterator, Sequence

import keras

from tfcompress.backends import runs_on
from tfcompress.compat.keras_layers import build_shapes, is_stock, own_trainable_variables
from tfcompress.keras_graph.kernels import Kernel, find_kernels
from tfcompress.keras_graph.selection import LayerSelector, walk_layers

_PRODUCTS = frozenset(
    {"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "XlaDotV2"}
    | {"Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3DBackpropInputV2"}
    | {"GatherV2", "ResourceGather"}  # a lookup is the product with a one-hot vector
)
_SHAPES = frozenset({"Shape", "ShapeN", "Size", "Rank"})


@dataclasses.dataclass(frozen=True)
class CustomWeights:
    """The weights of custom layers besides the kernels that ``find_kernels`` knows."""

    # Weights that the data are multiplied with, their last axis the output channels.
    kernels: tuple[Kernel, ...]
    # Paths of further trainable weights of two or more dimensions, and what was found of each.
    others: dict[str, str]


def find_custom_weights(model: keras.Model) -> CustomWeights:
    """Sort the trainable weights of two or more dimensions of custom layers.

    A weight is a kernel if the first operation that applies it to the data is a product, a
    convolution or a lookup, or an elementwise multiplication and the weight has at least two axes
    longer than 1. A table of positions that is added is not. If there is such a weight, the model
    is traced once.
    """
    known = {id(kernel.variable) for kernel in find_kernels(model)}
    candidates: dict[int, tuple] = {}
    for path, layer in walk_layers(model):
        if is_stock(layer):
            continue
        for variable in own_trainable_variables(layer):
            if len(variable.shape) >= 2 and id(variable) not in known:
                candidates.setdefault(id(variable), (f"{path}/{variable.name}", layer, variable))
    if not candidates:
        return CustomWeights((), {})
    variables = [variable for _, _, variable in candidates.values()]
    met = operations_on_data(model, variables) or [None] * len(variables)
    kernels, others = [], {}
    for (path, layer, variable), kinds in zip(candidates.values(), met, strict=True):
        if kinds is not None and _is_multiplied(variable, kinds):
            kernels.append(Kernel(path, layer, variable, (len(variable.shape) - 1,)))
        elif kinds:
            others[path] = f"applied to the data by {', '.join(sorted(kinds))}"
        else:
            others[path] = "its use could not be traced"
    return CustomWeights(tuple(kernels), others)


def find_all_kernels(model: keras.Model, layers: LayerSelector = None) -> list[Kernel]:
    """List the kernels of a model, those of custom layers included, in the order of the model."""
    return find_kernels(model, layers, find_custom_weights(model).kernels)


def _is_multiplied(variable, kinds):
    wide = sum(size > 1 for size in variable.shape) >= 2
    return bool(kinds & _PRODUCTS) or (wide and "Mul" in kinds)


def operations_on_data(
    model: keras.Model, variables: Sequence[keras.Variable]
) -> list[frozenset[str]] | None:
    """Return the types of the operations that apply each weight to the data of a model.

    Before that, a weight may be reshaped, cast, scaled or combined with other weights. None if the
    model cannot be traced: only TensorFlow's graphs show them.
    """
    specs = _input_specs(model) if runs_on("tensorflow") else None
    if specs is None:
        return None
    import tensorflow as tf  # not at the top: other backends run without it

    try:
        traced = tf.function(
            lambda inputs: model(inputs, training=False), autograph=False
        ).get_concrete_function(
            keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), specs)
        )
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
        return keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), inputs)
    shapes = build_shapes(model)
    if len(shapes) != 1 or not isinstance(next(iter(shapes.values())), tuple):
        return None
    return keras.KerasTensor((None, *next(iter(shapes.values()))[1:]), model.input_dtype)


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
    from tfcompress.compat.tensorflow_graphs import called_graph

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
