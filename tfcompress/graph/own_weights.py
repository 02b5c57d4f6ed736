"""Weights of layers that this package does not know: which of them work as kernels."""

import dataclasses

import keras

from tfcompress.compat.keras_layers import is_stock, own_trainable_variables
from tfcompress.graph.kernels import Kernel, find_kernels
from tfcompress.graph.meeting import operations_on_data
from tfcompress.graph.selection import LayerSelector, walk_layers

_PRODUCTS = frozenset(
    {"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "XlaDotV2"}
    | {"Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3DBackpropInputV2"}
    | {"GatherV2", "ResourceGather"}  # a lookup is the product with a one-hot vector
)


@dataclasses.dataclass(frozen=True)
class OwnWeights:
    """What the layers of one's own hold besides the kernels that ``find_kernels`` knows.

    Attributes:
        kernels: weights that the data are multiplied with, their last axis the output channels.
        others: paths of further trainable weights of two or more dimensions, and what was found
            of each.
    """

    kernels: tuple[Kernel, ...]
    others: dict[str, str]


def find_own_weights(model: keras.Model) -> OwnWeights:
    """Sort the trainable weights of two or more dimensions that belong to layers of one's own.

    A weight is a kernel if the data are multiplied with it: the first operation in which it meets
    them is a product, a convolution or a lookup, or a multiplication of single values where the
    weight has at least two axes longer than 1. A table of positions that is added is none. To see
    it, the model is traced once, if there is such a weight at all.

    Args:
        model: a built model.
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
        return OwnWeights((), {})
    variables = [variable for _, _, variable in candidates.values()]
    met = operations_on_data(model, variables) or [None] * len(variables)
    kernels, others = [], {}
    for (path, layer, variable), kinds in zip(candidates.values(), met, strict=True):
        if kinds is not None and _is_multiplied(variable, kinds):
            kernels.append(Kernel(path, layer, variable, (len(variable.shape) - 1,)))
        elif kinds:
            others[path] = f"meets the data in {', '.join(sorted(kinds))}"
        else:
            others[path] = "what it does cannot be seen"
    return OwnWeights(tuple(kernels), others)


def find_every_kernel(model: keras.Model, layers: LayerSelector = None) -> list[Kernel]:
    """List the kernels of a model with those of one's own layers, in the order of the model.

    Args:
        model: a built model.
        layers: which layers; see ``find_kernels``.

    Raises:
        TypeError: ``layers`` is not a selector.
        ValueError: ``layers`` matches nothing.
    """
    return find_kernels(model, layers, find_own_weights(model).kernels)


def _is_multiplied(variable, kinds):
    wide = sum(size > 1 for size in variable.shape) >= 2
    return bool(kinds & _PRODUCTS) or (wide and "Mul" in kinds)
