"""Depth pruning: residual blocks are removed whole, and their inputs pass through unchanged."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfcompress.compat.keras_graphs import producing_node, standardize_inputs
from tfcompress.data import iterate_inputs
from tfcompress.keras_graph.channels import read_channels, rebuild
from tfcompress.keras_graph.channels.flow import nodes_in_order, require_functional
from tfcompress.keras_graph.channels.rebuilding import run_graph
from tfcompress.keras_graph.selection import LayerSelector, select_layers
from tfcompress.keras_graph.wrapper import require_built

_CRITERIA = ("output", "branch")


@dataclasses.dataclass(frozen=True)
class ResidualBlock:
    """A branch between a tensor and the addition that joins it again.

    Attributes:
        path: path of the addition.
        layers: paths of the branch's own layers.
        source: the symbolic tensor at the start of the branch.
        branch: the one at its end.
        output: their sum.
    """

    path: str
    layers: tuple[str, ...]
    source: keras.KerasTensor
    branch: keras.KerasTensor
    output: keras.KerasTensor


def find_blocks(model: keras.Model) -> list[ResidualBlock]:
    """List the residual blocks of a model, in its order.

    A block is an ``Add`` of two tensors of the same shape, one of which is computed from the other
    alone, by layers whose results nothing else uses. A nested model counts as one layer.

    Args:
        model: a built Functional model.

    Raises:
        ValueError: the model is subclassed or not built.

    Example:
    >>> [block.path for block in find_blocks(model)]
    """
    functional = require_functional(model)
    require_built(model)
    uses: dict[int, set[int]] = {}
    nodes = list(nodes_in_order(functional))
    for node in nodes:
        for tensor in node.input_tensors:
            uses.setdefault(id(tensor), set()).add(id(node))
    outputs = {id(tensor) for tensor in functional.outputs}
    found = []
    for node in nodes:
        if not _adds_two(node):
            continue
        first, second = node.input_tensors
        for source, branch in ((first, second), (second, first)):
            inside = _between(source, branch)
            joined = {id(n) for n in inside} | {id(node)}
            made = [tensor for n in inside for tensor in n.outputs]
            alone = all(uses.get(id(t), set()) <= joined and id(t) not in outputs for t in made)
            if inside and alone and tuple(source.shape) == tuple(node.outputs[0].shape):
                names = dict.fromkeys(n.operation.name for n in reversed(inside))
                found.append(
                    ResidualBlock(
                        node.operation.name, tuple(names), source, branch, node.outputs[0]
                    )
                )
                break
    return found


def _adds_two(node):
    """Return whether a node adds two tensors."""
    operation = node.operation
    # `x + y` is an operation of Keras, not a layer.
    adds = isinstance(operation, keras.layers.Add) or (
        not isinstance(operation, keras.Layer) and type(operation).__name__ == "Add"
    )
    return adds and len(node.input_tensors) == 2


def _between(source, end):
    """Return the nodes from one tensor to another, the last first; none if there are others."""
    nodes, pending = {}, [end]
    while pending:
        tensor = pending.pop()
        if tensor is source:
            continue
        node = producing_node(tensor)
        if node.is_input:
            return []
        if id(node) not in nodes:
            nodes[id(node)] = node
            pending.extend(node.input_tensors)
    return list(nodes.values())


def remove_blocks(
    model: keras.Model,
    count: int,
    *,
    data: Any,
    criterion: str | Callable[[ResidualBlock], float] = "output",
    layers: LayerSelector = None,
    progress: Callable[[str], None] | None = None,
) -> keras.Model:
    """Make a shallower model by removing the residual blocks that contribute least.

    The input of a removed block passes through unchanged. Blocks are removed one by one, and the
    remaining ones are scored again each time.

    Args:
        model: a built Functional model; it is not changed.
        count: number of blocks to remove.
        data: a few hundred inputs; labels are not needed.
        criterion: "output" for the mean squared change of the model's outputs on ``data`` relative
            to their mean square, "branch" for the norm of what the block adds relative to the norm
            of its input, or a function from a ``ResidualBlock`` to a number; the lowest is removed
            first.
        layers: restricts removal to blocks that contain one of these layers; see
            ``select_layers``. All blocks by default.
        progress: called with a line of text for each removed block, such as ``print``.

    Returns:
        A new model with the same inputs and outputs; not compiled.

    Raises:
        ValueError: ``model`` is subclassed, not built, or has fewer such blocks than ``count``;
            ``count`` is less than 1; ``criterion`` is unknown; or there is no data.
        TypeError: ``layers`` is not a selector.

    Example:
    >>> shallower = tfc.remove_blocks(model, count=2, data=x[:200])

    Sources: Veit et al., "Residual networks behave like ensembles of relatively shallow networks",
    2016, https://arxiv.org/abs/1605.06431; Men et al., "ShortGPT: layers in large language models
    are more redundant than you expect", 2024, https://arxiv.org/abs/2403.03853.
    """
    blocks = find_blocks(model)
    if layers is not None:
        paths = {path for path, _ in select_layers(model, layers)}
        blocks = [block for block in blocks if paths & {block.path, *block.layers}]
    _check(model, count, criterion, blocks)
    batches = list(iterate_inputs(data))
    if not batches:
        raise ValueError("`data` must contain at least one example. Received: none")
    functional = require_functional(model)
    replaced: dict[int, keras.KerasTensor] = {}
    for done in range(count):
        if callable(criterion):
            scores = [criterion(block) for block in blocks]
        elif criterion == "output":
            scores = _changes(functional, blocks, replaced, batches)
        else:
            scores = _contributions(functional, blocks, replaced, batches)
        index = int(np.argmin(scores))
        gone = blocks.pop(index)
        if progress is not None:
            progress(f"{done + 1}/{count}: {gone.path} removed, {criterion} {scores[index]:.3g}")
        replaced[id(gone.output)] = gone.source
        blocks = [block for block in blocks if block.path not in gone.layers]
        if len(blocks) < count - done - 1:
            raise ValueError(
                f"Model {model.name!r} has blocks inside blocks: removing {gone.path!r} removed "
                f"others with it, and too few are left. Lower `count`. Received: count={count}"
            )
    return rebuild(model, read_channels(model), replaced=replaced)


def _changes(functional, blocks, replaced, batches):
    """Return the relative mean squared change of the outputs without each block."""
    changes, size = np.zeros(len(blocks)), 0.0
    for batch in batches:
        inputs = standardize_inputs(functional, batch)
        expected = _outputs(functional, inputs, replaced)
        size += np.square(expected).sum()
        for index, block in enumerate(blocks):
            without = {**replaced, id(block.output): block.source}
            found = _outputs(functional, inputs, without)
            changes[index] += np.square(found - expected).sum()
    return changes / size


def _outputs(functional, inputs, replaced):
    """Return all outputs of a batch as one float64 vector."""
    outputs = keras.tree.flatten(run_graph(functional, inputs, replaced))
    arrays = map(keras.ops.convert_to_numpy, outputs)
    return np.concatenate([array.astype(np.float64).ravel() for array in arrays])


def _contributions(functional, blocks, replaced, batches):
    """Return the norm of what each block adds, relative to that of its input."""
    squares = np.zeros((len(blocks), 2))
    wanted = [(block.branch, block.source) for block in blocks]
    for batch in batches:
        pairs = run_graph(functional, standardize_inputs(functional, batch), replaced, None, wanted)
        squares += [[float(keras.ops.sum(keras.ops.square(x))) for x in pair] for pair in pairs]
    return np.sqrt(squares[:, 0] / squares[:, 1])


def _check(model, count, criterion, blocks):
    """Raise ValueError for arguments that make no sense."""
    if count < 1:
        raise ValueError(f"`count` must be at least 1. Received: count={count!r}")
    if len(blocks) < count:
        raise ValueError(
            f"Model {model.name!r} has {len(blocks)} residual blocks that can be removed: "
            f"{[block.path for block in blocks]}. Blocks that change the shape, or whose inner "
            f"results are used elsewhere, cannot. Received: count={count!r}"
        )
    if not callable(criterion) and criterion not in _CRITERIA:
        raise ValueError(
            f"`criterion` must be one of {list(_CRITERIA)} or a function. "
            f"Received: criterion={criterion!r}"
        )
