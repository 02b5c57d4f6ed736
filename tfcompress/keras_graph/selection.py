"""Which layers a user means: the one meaning of every ``layers=`` argument."""

import difflib
import re
from collections.abc import Callable, Iterable

import keras

from tfcompress.compat.keras_graphs import nodes_of, produced_by
from tfcompress.compat.keras_layers import all_layers, shown_as_frozen
from tfcompress.keras_graph.wrapper import unwrap

LayerSelector = str | Iterable[str | keras.Layer] | Callable[[keras.Layer], bool] | None


def walk_layers(model: keras.Model) -> list[tuple[str, keras.Layer]]:
    """List every layer of a model with its path, sublayers and nested models included.

    A path joins the names on the way with "/", without the model's own name: the layer "conv" of a
    nested model "encoder" is "encoder/conv". A layer used twice is listed once. Wrappers of this
    package are looked through, so that paths are always those of the user's own model.

    Returns:
        (path, layer) pairs, a layer before its sublayers, in the order of the model.
    """
    found: list[tuple[str, keras.Layer]] = []
    seen: set[int] = set()

    def visit(parent: keras.Layer, prefix: str) -> None:
        for layer in all_layers(parent, include_self=False, recursive=False):
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            path = prefix + layer.name
            found.append((path, layer))
            visit(layer, path + "/")

    visit(unwrap(model), "")
    return found


def select_layers(
    model: keras.Model, layers: LayerSelector = None
) -> list[tuple[str, keras.Layer]]:
    """Find the layers of a model that a selector means.

    Args:
        model: a Keras model.
        layers: ``None`` for all layers; a regular expression searched for in each layer's path; a
            list of names, paths or layer objects; or a callable from a layer to a bool, which sees
            a layer inside a frozen one as frozen.

    Returns:
        (path, layer) pairs in the order of ``walk_layers``.

    Raises:
        TypeError: ``layers`` is none of the above.
        ValueError: the selector matches nothing, names a layer that the model does not have, or is
            not a valid regular expression.

    Example:
    >>> select_layers(model, "^block1")
    >>> select_layers(model, ["stem", model.get_layer("head")])
    >>> select_layers(model, lambda layer: isinstance(layer, keras.layers.Dense))
    """
    candidates = walk_layers(model)
    if layers is None:
        return candidates
    if isinstance(layers, str):
        chosen = _matching(candidates, layers)
    elif callable(layers):
        frozen = frozen_layers(model)
        chosen = []
        for path, layer in candidates:
            with shown_as_frozen(layer, frozen=path in frozen):
                if layers(layer):
                    chosen.append((path, layer))
    elif isinstance(layers, Iterable):
        chosen = _named(candidates, list(layers))
    else:
        raise TypeError(
            "`layers` must be None, a regular expression, a list of names or layers, or a callable "
            f"from a layer to a bool. Received: layers={layers!r} of type {type(layers).__name__}"
        )
    if not chosen:
        raise ValueError(
            f"`layers` matches no layer of model {model.name!r}. Received: layers={layers!r}. "
            f"Its layers are: {', '.join(path for path, _ in candidates)}"
        )
    return chosen


def frozen_layers(model: keras.Model) -> dict[str, str]:
    """Find the layers that `fit` does not train."""
    frozen = {"": ""} if not unwrap(model).trainable else {}
    for path, layer in walk_layers(model):
        parent = path.rpartition("/")[0]
        if parent in frozen:
            frozen[path] = frozen[parent]
        elif not layer.trainable:
            frozen[path] = path
    frozen.pop("", None)
    return frozen


def _matching(candidates, pattern):
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"`layers` is not a valid regular expression: {error}. Received: layers={pattern!r}"
        ) from error
    return [(path, layer) for path, layer in candidates if expression.search(path)]


def _named(candidates, wanted):
    chosen: set[int] = set()
    for item in wanted:
        if isinstance(item, keras.Layer):
            hits = [layer for _, layer in candidates if layer is item]
        else:
            hits = [layer for path, layer in candidates if item in (path, layer.name)]
        if not hits:
            name = item.name if isinstance(item, keras.Layer) else str(item)
            names = {known for path, layer in candidates for known in (path, layer.name)}
            near = difflib.get_close_matches(name, names, n=3)
            hint = f"Its layers are: {sorted(names)}"
            if near:
                hint = f"Did you mean: {', '.join(near)}?"
            raise ValueError(
                f"The model has no layer {name!r}. {hint} Received: layers=[..., {item!r}, ...]"
            )
        chosen.update(id(layer) for layer in hits)
    return [(path, layer) for path, layer in candidates if id(layer) in chosen]


def output_layers(model: keras.Model) -> list[keras.Layer]:
    """Return the last layers with weights before a model's outputs; none of subclassed models."""
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
