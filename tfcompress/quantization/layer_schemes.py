"""Which numerics each layer of a model has: a scheme with its overrides, applied to a model."""

from collections.abc import Collection, Iterable, Mapping

import keras
from keras import layers as kl

from tfcompress.keras_graph.hooks import walk_operations
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.keras_graph.selection import LayerSelector, select_layers, walk_layers
from tfcompress.quantization.scheme import Scheme

_WITHOUT_4_BITS = (kl.Conv1DTranspose, kl.Conv2DTranspose, kl.Conv3DTranspose, kl.Embedding)

LayerSchemes = Mapping[str, Scheme | None]


def resolve_schemes(
    model: keras.Model, scheme: Scheme, layers: LayerSelector = None
) -> dict[str, Scheme | None]:
    """Find out what each layer computes with: its scheme by its path, None for floats.

    Raises:
        TypeError: ``layers`` is not a selector.
        ValueError: ``layers`` or an override matches nothing, ``layers`` leaves layers in float
            where the scheme cannot, or a layer has no kernel for its bits.

    Example:
    >>> schemes = resolve_schemes(model, Scheme.int8().override("^head$", None))
    >>> schemes["stem"].weight_bits, schemes["head"]
    (8, None)
    """
    paths = [path for path, _ in walk_layers(model)]
    found: dict[str, Scheme | None] = dict.fromkeys(paths, scheme)
    for names, other in scheme.overrides:
        chosen = select_layers(model, names if isinstance(names, str) else list(names))
        for path in _with_sublayers(paths, [path for path, _ in chosen]):
            found[path] = other
    if layers is not None:
        found.update(dict.fromkeys(_left_out(model, layers)))
    _require_kernels_for_4_bits(model, found)
    return found


def require_named(models: Iterable[keras.Model], allowed: Collection[str]) -> None:
    """Raise a ValueError unless each allowed path is a layer or operation of one of the models."""
    models = list(models)
    known = {path for model in models for path, _ in walk_operations(model)}
    if unknown := [name for name in allowed if name not in known]:
        select_layers(models[0], unknown)


def float_paths(schemes: LayerSchemes) -> list[str]:
    """List the paths of the layers that compute in float."""
    return [path for path, scheme in schemes.items() if scheme is None]


def _require_kernels_for_4_bits(model, schemes):
    """Check that no layer is to have 4-bit weights for which there is no kernel."""
    wanting = [
        path
        for path, layer in walk_layers(model)
        if isinstance(layer, _WITHOUT_4_BITS) and schemes[path] and schemes[path].weight_bits == 4
    ]
    if wanting:
        raise ValueError(
            "Transposed convolutions and embeddings have no kernel for 4-bit weights. Received: "
            f"{wanting} in model {model.name!r}. Give them 8 bits: "
            f"scheme.override({wanting}, Scheme.int8())."
        )


def _left_out(model, layers):
    """List the paths of the layers that have kernels and are not selected."""
    selected = {kernel.path for kernel in find_kernels(model, layers)}
    others = (kernel.path for kernel in find_kernels(model) if kernel.path not in selected)
    return list(dict.fromkeys(path.rpartition("/")[0] for path in others))


def _with_sublayers(paths, chosen):
    """List the paths of chosen layers and of those inside them."""
    return [
        path
        for path in paths
        if any(path == parent or path.startswith(parent + "/") for parent in chosen)
    ]
