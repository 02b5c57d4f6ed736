"""Which numerics each layer of a model has: a scheme with its overrides, applied to a model."""

from collections.abc import Collection, Iterable, Mapping

import keras
from keras import layers as kl

from tfcompress.compat.keras_recurrent import ConvLSTMCell
from tfcompress.keras_graph.hooks import walk_operations
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.keras_graph.selection import LayerSelector, select_layers, walk_layers
from tfcompress.quantization.scheme import Scheme

CONVOLUTIONS = (
    ConvLSTMCell,
    kl.Conv1D,
    kl.Conv2D,
    kl.Conv1DTranspose,
    kl.Conv2DTranspose,
    kl.DepthwiseConv1D,
    kl.DepthwiseConv2D,
    kl.SeparableConv1D,
    kl.SeparableConv2D,
)
_UP_TO_8_BITS = (kl.Conv1DTranspose, kl.Conv2DTranspose, kl.Conv3DTranspose, kl.Embedding)
# What LiteRT 2.3 has no kernel for beside integer activations.
_WITHOUT_KERNEL = {
    4: (_UP_TO_8_BITS, "Transposed convolutions and embeddings"),
    2: ((*CONVOLUTIONS, *_UP_TO_8_BITS, kl.Conv3D), "Convolutions and embeddings"),
}

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
    for bits in _WITHOUT_KERNEL:
        _require_kernels(model, found, bits)
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


def _require_kernels(model, schemes, bits):
    """Check that no layer is to have weights of a few bits for which there is no kernel."""
    without, described = _WITHOUT_KERNEL[bits]
    wanting = [
        path
        for path, layer in walk_layers(model)
        if isinstance(layer, without) and schemes[path] and schemes[path].weight_bits == bits
    ]
    if wanting:
        raise ValueError(
            f"{described} have no kernel for {bits}-bit weights. Received: "
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
