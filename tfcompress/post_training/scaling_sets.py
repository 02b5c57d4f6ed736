"""Sets of layers between which a channel can be scaled: a producer and all its consumers."""

import dataclasses

import keras
import numpy as np
from keras import layers as kl

from tfcompress.keras_graph.layer_calls import LayerCall, LayerCalls
from tfcompress.keras_graph.linear_layers import LinearLayer, is_linear

_NO_CAP = float("inf")
# f(s * x) == s * f(x) for every s > 0, up to the cap.
_LAYERS = (
    kl.Identity,
    kl.Dropout,
    kl.SpatialDropout1D,
    kl.SpatialDropout2D,
    kl.MaxPooling1D,
    kl.MaxPooling2D,
    kl.AveragePooling1D,
    kl.AveragePooling2D,
    kl.GlobalAveragePooling1D,
    kl.GlobalAveragePooling2D,
    kl.GlobalMaxPooling1D,
    kl.GlobalMaxPooling2D,
    kl.ZeroPadding1D,
    kl.ZeroPadding2D,
    kl.Cropping1D,
    kl.Cropping2D,
    kl.UpSampling1D,
    kl.UpSampling2D,
    kl.LeakyReLU,
    kl.PReLU,
)
_RESHAPING = (kl.Flatten, kl.Reshape)
_ACTIVATIONS = {"linear": _NO_CAP, "relu": _NO_CAP, "leaky_relu": _NO_CAP, "relu6": 6.0}
_OPERATIONS = {"Relu": _NO_CAP, "LeakyRelu": _NO_CAP, "Relu6": 6.0, "Identity": _NO_CAP}


@dataclasses.dataclass(frozen=True)
class Consumer:
    """A linear layer that reads scaled channels; ``channels`` maps its inputs to the producer's."""

    linear: LinearLayer
    channels: np.ndarray


@dataclasses.dataclass(frozen=True)
class ScalingSet:
    """A linear layer and all consumers of its channels; an activation saturates at ``cap``."""

    producer: LinearLayer
    consumers: tuple[Consumer, ...]
    cap: float

    def __str__(self) -> str:
        consumers = ", ".join(consumer.linear.path for consumer in self.consumers)
        return f"{self.producer.path} to {consumers}"


class _NotScalableError(Exception):
    """Why the channels of a layer cannot be scaled."""


def find_scaling_sets(model: keras.Model) -> tuple[list[ScalingSet], dict[str, str]]:
    """Find the layers between which scaling a channel does not change the model.

    A scale passes through ReLU and its leaky forms, pooling, padding, dropout and reshaping, and
    through a cap such as ReLU6's if no value reaches it. Takes a Functional or Sequential model.
    Also returns the reason for each linear layer whose channels cannot be scaled, by path.
    """
    calls, found, skipped = LayerCalls(model), [], {}
    for call in calls.calls:
        if not is_linear(call.layer):
            continue
        try:
            found.append(_scaling_set(calls, call))
        except _NotScalableError as reason:
            skipped[call.path] = str(reason)
    return found, skipped


def _scaling_set(calls: LayerCalls, call: LayerCall) -> ScalingSet:
    """Follow the channels of a layer to all linear layers that read them."""
    producer = LinearLayer(call.path, call.layer)
    if not calls.is_called_once(call.layer):
        raise _NotScalableError("it is called several times")
    caps = [_cap_of_activation(call.layer.activation, call.path)]
    consumers = []
    pending = [(call.outputs[0], call.shapes[0], np.arange(producer.outputs))]
    while pending:
        tensor, shape, channels = pending.pop()
        if calls.is_output(tensor):
            raise _NotScalableError("its channels are an output of the model")
        for reader in calls.consumers(tensor):
            if not calls.is_called_once(reader.layer):
                raise _NotScalableError(f"its consumer {reader.path!r} is called several times")
            if is_linear(reader.layer):
                consumers.append(Consumer(LinearLayer(reader.path, reader.layer), channels))
                continue
            caps.append(_cap(reader))
            passed = _channels_after(reader, shape, channels)
            pending.append((reader.outputs[0], reader.shapes[0], passed))
    if not consumers:
        raise _NotScalableError("no layer reads its channels")
    return ScalingSet(producer, tuple(consumers), min(caps))


def _cap_of_activation(activation, path) -> float:
    """Return where an activation saturates."""
    name = getattr(activation, "__name__", None)
    if activation is not getattr(keras.activations, str(name), None) or name not in _ACTIVATIONS:
        raise _NotScalableError(
            f"scales do not pass through the activation {name or activation!r} of {path!r}"
        )
    return _ACTIVATIONS[name]


def _cap(call: LayerCall) -> float:
    """Return where a layer saturates."""
    layer = call.layer
    if type(layer) in _LAYERS or type(layer) in _RESHAPING:
        return _NO_CAP
    if type(layer) is kl.Activation:
        return _cap_of_activation(layer.activation, call.path)
    if type(layer) is kl.ReLU and not layer.threshold:
        return _NO_CAP if layer.max_value is None else float(layer.max_value)
    if not isinstance(layer, keras.Layer) and type(layer).__name__ in _OPERATIONS:
        return _OPERATIONS[type(layer).__name__]
    raise _NotScalableError(f"scales do not pass through {call.path!r} ({type(layer).__name__})")


def _channels_after(call: LayerCall, shape, channels: np.ndarray) -> np.ndarray:
    """Return the channel of each index of the last axis after a layer."""
    layer = call.layer
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise _NotScalableError(f"the channels of {call.path!r} are not on the last axis")
    if type(layer) not in _RESHAPING:
        return channels
    wanted = call.shapes[0]
    if None in shape[1:] or None in wanted[1:]:
        raise _NotScalableError(f"the shapes at {call.path!r} are not known")
    placed = np.broadcast_to(channels, shape[1:]).reshape(wanted[1:])
    flat = placed.reshape(-1, wanted[-1])
    if (flat != flat[0]).any():
        raise _NotScalableError(f"{call.path!r} splits its channels")
    return flat[0]
