"""Where a scale can be moved: from a layer, through what comes behind it, to its readers."""

import dataclasses

import keras
import numpy as np
from keras import layers as kl

from tfcompress.post_training.linear import LinearLayer, is_linear
from tfcompress.post_training.network import LayerCall, Network

_UNCHANGED = (
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
_NO_CAP = float("inf")
# f(s * x) == s * f(x) for every s > 0, up to the cap.
_FUNCTIONS = {"linear": _NO_CAP, "relu": _NO_CAP, "leaky_relu": _NO_CAP, "relu6": 6.0}
_OPERATIONS = {"Relu": _NO_CAP, "LeakyRelu": _NO_CAP, "Relu6": 6.0, "Identity": _NO_CAP}


@dataclasses.dataclass(frozen=True)
class Reader:
    """A linear layer at the end of a link.

    Attributes:
        linear: the layer.
        channels: int array (its inputs,): the channel of the link that each input belongs to.
    """

    linear: LinearLayer
    channels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Link:
    """A linear layer, and all that read its channels: each channel may be scaled in between.

    Attributes:
        maker: the layer that makes the channels.
        readers: the linear layers that read them.
        cap: where an activation in between cuts off; infinite if none does.
    """

    maker: LinearLayer
    readers: tuple[Reader, ...]
    cap: float

    def __str__(self) -> str:
        return f"{self.maker.path} to {', '.join(reader.linear.path for reader in self.readers)}"


class _NoLinkError(Exception):
    """Why the channels of a layer cannot be scaled."""


def find_links(model: keras.Model) -> tuple[list[Link], dict[str, str]]:
    """Find the pairs of layers between which a scale of a channel changes nothing.

    A scale passes ReLU and its leaky forms, pooling, padding, dropout and reshaping, and a cap such
    as ReLU6 as long as no value reaches it.

    Args:
        model: a built Functional or Sequential model.

    Returns:
        The links in the order of the model; and by the path of each other linear layer, why its
        channels cannot be scaled.

    Raises:
        ValueError: ``model`` is a subclassed model.
    """
    network, links, left = Network(model), [], {}
    for call in network.calls:
        if not is_linear(call.layer):
            continue
        try:
            links.append(_link(network, call))
        except _NoLinkError as reason:
            left[call.path] = str(reason)
    return links, left


def _link(network: Network, call: LayerCall) -> Link:
    maker = LinearLayer(call.path, call.layer)
    if not network.is_called_once(call.layer):
        raise _NoLinkError("it is called several times")
    caps = [_cap_of_function(call.layer.activation, call.path)]
    readers = []
    pending = [(call.outputs[0], call.shapes[0], np.arange(maker.outputs))]
    while pending:
        tensor, shape, channels = pending.pop()
        if network.is_returned(tensor):
            raise _NoLinkError("its channels are an output of the model")
        for reader in network.readers(tensor):
            if not network.is_called_once(reader.layer):
                raise _NoLinkError(f"{reader.path!r}, which reads it, is called several times")
            if is_linear(reader.layer):
                readers.append(Reader(LinearLayer(reader.path, reader.layer), channels))
                continue
            caps.append(_cap(reader))
            passed = _channels_behind(reader, shape, channels)
            pending.append((reader.outputs[0], reader.shapes[0], passed))
    if not readers:
        raise _NoLinkError("nothing reads its channels")
    return Link(maker, tuple(readers), min(caps))


def _cap_of_function(activation, path) -> float:
    name = getattr(activation, "__name__", None)
    if activation is not getattr(keras.activations, str(name), None) or name not in _FUNCTIONS:
        raise _NoLinkError(f"the activation {name or activation!r} of {path!r} scales with nothing")
    return _FUNCTIONS[name]


def _cap(call: LayerCall) -> float:
    """Return where a layer cuts off.

    Raises:
        _NoLinkError: a scale does not pass it.
    """
    layer = call.layer
    if type(layer) in _UNCHANGED or type(layer) in _RESHAPING:
        return _NO_CAP
    if type(layer) is kl.Activation:
        return _cap_of_function(layer.activation, call.path)
    if type(layer) is kl.ReLU and not layer.threshold:
        return _NO_CAP if layer.max_value is None else float(layer.max_value)
    if not isinstance(layer, keras.Layer) and type(layer).__name__ in _OPERATIONS:
        return _OPERATIONS[type(layer).__name__]
    raise _NoLinkError(f"a scale does not pass {call.path!r} ({type(layer).__name__})")


def _channels_behind(call: LayerCall, shape, channels: np.ndarray) -> np.ndarray:
    """Return the channel that each place on the last axis belongs to, behind a layer."""
    layer = call.layer
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise _NoLinkError(f"the channels of {call.path!r} are not on the last axis")
    if type(layer) not in _RESHAPING:
        return channels
    wanted = call.shapes[0]
    if None in shape[1:] or None in wanted[1:]:
        raise _NoLinkError(f"the shapes at {call.path!r} are not known")
    placed = np.broadcast_to(channels, shape[1:]).reshape(wanted[1:])
    flat = placed.reshape(-1, wanted[-1])
    if (flat != flat[0]).any():
        raise _NoLinkError(f"{call.path!r} takes its channels apart")
    return flat[0]
