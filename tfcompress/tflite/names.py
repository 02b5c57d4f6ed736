"""From a tensor's name back to the Keras layer that it comes from.

The converter names a tensor after the TensorFlow nodes that it fused, outermost first, separated by
";": "toy_1/stem_1/Relu;toy_1/stem_1/convolution". A node's name is the model's scope, the scopes of
the nested layers, and the node. TensorFlow makes a scope unique by a number at its end, so that the
layer "stem" may appear as "stem_1"; only someone who knows the layers can tell the number from a
name that ends in one.
"""

import re
from collections.abc import Iterable

# Nodes that a SavedModel puts between a variable and the node that uses it.
_READS = frozenset({"ReadVariableOp", "resource"})


def layer_scope(name: str) -> str | None:
    """Find the scope of the layer that produced a tensor.

    Returns:
        The layer's scope, nested ones joined by "/", without the model's own; None if the name
        says nothing about a layer.
    """
    parts = name.split(";", maxsplit=1)[0].split(":", maxsplit=1)[0].split("/")
    while parts and parts[-1] in _READS:
        parts.pop()
    return "/".join(parts[1:-1]) or None


def layer_scopes(name: str) -> tuple[str, ...]:
    """Find the scopes of all layers that were fused into a tensor, as ``layer_scope`` does."""
    scopes = (layer_scope(part) for part in name.split(";"))
    return tuple(dict.fromkeys(scope for scope in scopes if scope))


def short_name(name: str) -> str:
    """Return a name with the same ``layer_scopes``, without the model's name, one node per layer.

    Example:
    ```python
    short_name("net/conv/BiasAdd;net/conv/convolution;net/norm/mul")
    # "/conv/BiasAdd;/norm/"
    ```
    """
    first, *others = name.split(";")
    scope = layer_scope(first)
    kept = [first if scope is None else first[first.index("/") :]]
    seen = {scope}
    for node in others:
        scope = layer_scope(node)
        if scope not in seen:
            seen.add(scope)
            kept.append(f"/{scope}/")
    return ";".join(kept)


def match_layer(scope: str | None, paths: Iterable[str]) -> str | None:
    """Return which of the known layers a scope means.

    Returns:
        The innermost layer whose path begins the scope, equal names before numbered ones; None
        if none does.
    """
    return None if scope is None else max(_readings(scope, paths), default=(0, 0, None))[2]


def match_layers(scopes: Iterable[str], paths: Iterable[str]) -> dict[str, str | None]:
    """Return which of the known layers each scope of a file means.

    Of "conv_1" alone nobody knows whether it is the layer "conv_1", or "conv" with a number of
    TensorFlow's. The scopes of a whole file tell: they belong to different layers.

    Returns:
        The layer of each scope, None where none matches.
    """
    paths = list(paths)
    readings = {scope: _readings(scope, paths) for scope in dict.fromkeys(scopes)}
    equal_first = {scope: max(found)[2] if found else None for scope, found in readings.items()}
    numbered_first = {
        scope: max((depth, -equal, path) for depth, equal, path in found)[2] if found else None
        for scope, found in readings.items()
    }
    return max(equal_first, numbered_first, key=lambda layers: len(set(layers.values())))


def _readings(scope: str, paths: Iterable[str]) -> list[tuple[int, int, str]]:
    """List the layers that a scope may mean: (names matched, equal ones among them, path)."""
    scopes = scope.split("/")
    found = []
    for path in paths:
        names = path.split("/")
        if len(names) > len(scopes):
            continue
        pairs = list(zip(names, scopes, strict=False))
        if all(re.fullmatch(re.escape(name) + r"(_\d+)?", part) for name, part in pairs):
            found.append((len(names), sum(name == part for name, part in pairs), path))
    return found
