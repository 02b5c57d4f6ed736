"""Batch normalizations taken up by the layers before them, as the device has them."""

import keras
import numpy as np
from keras import layers as kl

from tfcompress.keras_graph.channels import read_channels, rebuild
from tfcompress.post_training.linear import LinearLayer, float64, is_linear
from tfcompress.post_training.network import Network


def fold_batch_normalization(model: keras.Model) -> keras.Model:
    """Copy a model, with each BatchNormalization folded into the linear layer that it follows.

    A folded BatchNormalization becomes an ``Identity`` of the same name, so that layers keep their
    paths. Others stay: those that follow no Dense layer or convolution, or one whose output is
    used elsewhere as well, is activated, or is made in several calls.

    Args:
        model: a built Functional or Sequential model; nested ones inside are folded too. It is left
            as it is.

    Returns:
        A model with weights of its own that computes the same at inference, but for rounding in
        the last digits.

    Raises:
        ValueError: ``model`` is not built, or is a subclassed model.

    Example:
    >>> folded = fold_batch_normalization(model)
    """
    network = Network(model)
    pairs = [
        (LinearLayer(maker.path, maker.layer), call.layer)
        for call in network.calls
        if (maker := _folds_into(network, call)) is not None
    ]
    remade = {
        id(norm): kl.Identity(name=norm.name, dtype=norm.dtype_policy.name) for _, norm in pairs
    }
    remade |= {id(linear.layer): _with_bias(linear.layer) for linear, _ in pairs}
    folded = rebuild(model, read_channels(model), remade=remade)
    for linear, norm in pairs:
        twin = LinearLayer(linear.path, remade[id(linear.layer)])
        kernel, bias = _folded(linear, norm)
        twin.kernel.assign(kernel)
        twin.bias.assign(bias)
    return folded


def _folds_into(network, call):
    """Return the call of the linear layer that takes up a normalization; None if there is none."""
    norm = call.layer
    if type(norm) is not kl.BatchNormalization or not network.is_called_once(norm):
        return None
    (read,) = call.inputs
    maker = network.maker(read)
    if maker is None or not is_linear(maker.layer) or not network.is_called_once(maker.layer):
        return None
    used_elsewhere = len(network.readers(read)) > 1 or network.is_returned(read)
    last = len(maker.shapes[0]) - 1
    plain = maker.layer.activation is keras.activations.linear and norm.axis in (-1, last)
    return maker if plain and not used_elsewhere else None


def _with_bias(layer):
    config = {key: value for key, value in layer.get_config().items() if key != "build_config"}
    return type(layer).from_config({**config, "use_bias": True})


def _folded(linear, norm):
    """Return the kernel and the bias that compute both."""
    mean, variance = (float64(v) for v in (norm.moving_mean, norm.moving_variance))
    gamma = float64(norm.gamma) if norm.scale else 1.0
    beta = float64(norm.beta) if norm.center else 0.0
    scale = gamma / np.sqrt(variance + norm.epsilon)
    bias = 0.0 if linear.bias is None else float64(linear.bias)
    matrices = linear.to_matrices(float64(linear.kernel))
    matrices = matrices * scale.reshape(linear.groups, 1, -1)
    return linear.from_matrices(matrices), (bias - mean) * scale + beta
