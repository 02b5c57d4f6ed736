"""What is inside Keras layers: their parts, their stored weights, what their class is."""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.utils.naming import to_snake_case

from tfcompress.compat.keras_attributes import replaced_attributes


def all_layers(
    layer: keras.Layer, include_self: bool = True, recursive: bool = True
) -> Iterator[keras.Layer]:
    """Yield the layers inside a layer or model, those of attributes and containers included."""
    yield from layer._flatten_layers(include_self=include_self, recursive=recursive)


def stored_kernel(layer: keras.Layer) -> keras.Variable | None:
    """Return the variable of a kernel or None; ``layer.kernel`` is a sum where LoRA is on."""
    kernel = getattr(layer, "_kernel", None)
    return getattr(layer, "kernel", None) if kernel is None else kernel


def stored_embeddings(layer: keras.layers.Embedding) -> keras.Variable:
    """Return the variable (tokens, features) of an embedding, likewise."""
    return layer._embeddings


def grouped_projections(
    layer: keras.layers.GroupQueryAttention,
) -> tuple[list[tuple[str, keras.Layer]], keras.Layer]:
    """Return (what it reads, projection) of each projection of an attention, and the last one."""
    found = [
        ("query", layer._query_dense),
        ("key", layer._key_dense),
        ("value", layer._value_dense),
    ]
    if getattr(layer, "_gate_dense", None) is not None:
        found.append(("query", layer._gate_dense))
    return found, layer._output_dense


def own_trainable_variables(layer: keras.Layer) -> list[keras.Variable]:
    """Return the trainable variables that a layer has made itself, frozen or not."""
    return layer._trainable_variables


@contextlib.contextmanager
def shown_as_frozen(layer: keras.Layer, frozen: bool) -> Iterator[None]:
    """Let ``layer.trainable`` be False in a ``with`` block, its variables left alone."""
    with replaced_attributes(layer, _trainable=layer._trainable and not frozen):
        yield


def is_stock(layer: keras.Layer) -> bool:
    """Tell whether the class of a layer is one of Keras itself."""
    return type(layer).__module__.startswith("keras.src.")


def automatic_name(name: str) -> str:
    """Return the name that Keras gives to the first layer or loss of a class: snake case."""
    return to_snake_case(name)


def application_layer(module: str, name: str) -> type[keras.Layer]:
    """Return the class of a layer that only models of an application, such as "convnext", use."""
    return getattr(importlib.import_module(f"keras.src.applications.{module}"), name)


def declared_output_shape(layer: keras.layers.Lambda) -> Any:
    """Return the ``output_shape`` that a Lambda layer was made with."""
    return layer._output_shape


def build_shapes(layer: keras.Layer) -> dict:
    """Return the input shapes that a layer was built for, by argument; empty if it is not known."""
    return getattr(layer, "_build_shapes_dict", None) or {}


def split_into_groups(layer: keras.layers.GroupNormalization, inputs: Any) -> Any:
    """Reshape the inputs of a GroupNormalization: its channels' axis becomes groups and channels.

    Returns:
        The reshaped tensor, and the shape to which the layer's gamma and beta are broadcast.
    """
    return layer._reshape_into_groups(inputs), layer._create_broadcast_shape(inputs.shape)
