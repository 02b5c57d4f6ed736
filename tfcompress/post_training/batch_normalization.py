"""Batch normalizations: folded into the layers before them, or re-estimated on data."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl

from tfcompress.deprecation import renamed_arguments
from tfcompress.keras_graph.channels import read_channels, rebuild
from tfcompress.keras_graph.interception import VariableSwap, intercepted_calls
from tfcompress.keras_graph.layer_calls import LayerCalls
from tfcompress.keras_graph.linear_layers import LinearLayer, float64, is_linear
from tfcompress.keras_graph.selection import walk_layers
from tfcompress.post_training.representative_data import input_batches
from tfcompress.quantization.weights import require_usable_weights


def fold_batch_normalization(model: keras.Model) -> keras.Model:
    """Copy a model with each BatchNormalization folded into the linear layer before it.

    A folded BatchNormalization becomes an ``Identity`` of the same name, so that layers keep their
    paths. Others stay: those that do not follow a Dense layer or convolution, or follow one that
    has an activation, several calls, or an output that is used elsewhere too.

    Args:
        model: a built Functional or Sequential model, nested ones included; it is not changed.

    Returns:
        A model with its own weights and the same outputs at inference, up to float rounding.

    Raises:
        ValueError: ``model`` is not built, or is subclassed.

    Example:
    >>> folded = fold_batch_normalization(model)
    """
    calls = LayerCalls(model)
    pairs = [
        (LinearLayer(producer.path, producer.layer), call.layer)
        for call in calls.calls
        if (producer := _folds_into(calls, call)) is not None
    ]
    remade = {
        id(norm): kl.Identity(name=norm.name, dtype=norm.dtype_policy.name) for _, norm in pairs
    }
    remade |= {id(linear.layer): _with_bias(linear.layer) for linear, _ in pairs}
    folded = rebuild(model, read_channels(model), remade=remade)
    for linear, norm in pairs:
        copy = LinearLayer(linear.path, remade[id(linear.layer)])
        kernel, bias = _folded(linear, norm)
        copy.kernel.assign(kernel)
        copy.bias.assign(bias)
    return folded


def _folds_into(calls, call):
    """Return the call of the linear layer that absorbs a normalization; None if there is none."""
    norm = call.layer
    if type(norm) is not kl.BatchNormalization or not calls.is_called_once(norm):
        return None
    (read,) = call.inputs
    producer = calls.producer(read)
    if producer is None or not is_linear(producer.layer):
        return None
    used_elsewhere = len(calls.consumers(read)) > 1 or calls.is_output(read)
    last = len(producer.shapes[0]) - 1
    plain = producer.layer.activation is keras.activations.linear and norm.axis in (-1, last)
    once = calls.is_called_once(producer.layer)
    return producer if plain and once and not used_elsewhere else None


def _with_bias(layer):
    """Return a new layer of the same config with a bias."""
    config = {key: value for key, value in layer.get_config().items() if key != "build_config"}
    return type(layer).from_config({**config, "use_bias": True})


def _folded(linear, norm):
    """Return the kernel and the bias that compute both layers."""
    mean, variance = (float64(v) for v in (norm.moving_mean, norm.moving_variance))
    gamma = float64(norm.gamma) if norm.scale else 1.0
    beta = float64(norm.beta) if norm.center else 0.0
    scale = gamma / np.sqrt(variance + norm.epsilon)
    bias = 0.0 if linear.bias is None else float64(linear.bias)
    matrices = linear.to_matrices(float64(linear.kernel))
    matrices = matrices * scale.reshape(linear.groups, 1, -1)
    return linear.from_matrices(matrices), (bias - mean) * scale + beta


@renamed_arguments(most="max_examples")
def reestimate_batch_normalization(
    model: keras.Model, representative_data: Any, *, max_examples: int = 1024
) -> keras.Model:
    """Copy a model with BatchNormalization statistics re-estimated on data.

    After pruning, clustering or the removal of channels, the inputs of a BatchNormalization no
    longer match its moving statistics. Re-estimating them restores much of the accuracy before, or
    without, any training. During estimation each batch is normalized by its own statistics, as in
    training; those of all batches are combined exactly, whatever the number of batches and the
    momentum of the layers.

    Args:
        model: a built Functional or Sequential model, nested ones included; it is not changed.
        representative_data: a few hundred inputs like those in use, in any form that ``fit``
            accepts; labels are not needed.
        max_examples: the maximum number of inputs to use.

    Returns:
        A model with its own weights; not compiled.

    Raises:
        TypeError: ``representative_data`` has no form that ``fit`` accepts.
        ValueError: the model is subclassed, not built, has NaN weights or no BatchNormalization; or
            there is no data, or it does not fit the model or is not finite.

    Example:
    >>> smaller = tfc.remove_channels(model, target_macs=0.5)
    >>> smaller = tfc.reestimate_batch_normalization(smaller, x_train[:500])

    Method: Li et al., "EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning",
    2020, https://arxiv.org/abs/2007.02491.
    """
    copy = rebuild(model, read_channels(model))
    require_usable_weights(copy)
    norms = [layer for _, layer in walk_layers(copy) if type(layer) is kl.BatchNormalization]
    if not norms:
        raise ValueError(
            f"Model {model.name!r} has no BatchNormalization to re-estimate. "
            "Received: a model without one"
        )
    moments = {id(norm): _Moments() for norm in norms}

    def wrap(norm, call):
        def run(inputs, *args, **kwargs):
            mean, variance = moments[id(norm)].add(inputs, norm.axis)
            swaps = [(norm.moving_mean, mean), (norm.moving_variance, variance)]
            with VariableSwap(swaps):
                return call(inputs, *args, **kwargs)

        return run

    batches = input_batches(copy, representative_data, max_examples)
    with intercepted_calls(norms, wrap):
        for batch in batches:
            copy(batch, training=False)
    for norm in norms:
        mean, variance = moments[id(norm)].result()
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(variance)
    return copy


@dataclasses.dataclass
class _Moments:
    """Sums of the inputs of a normalization in float64."""

    count: int = 0
    first: np.ndarray | float = 0.0
    second: np.ndarray | float = 0.0

    def add(self, inputs, axis: int):
        """Add a batch, and return its own mean and variance as float32 tensors."""
        x = tf.cast(inputs, tf.float64)
        axes = [other for other in range(len(x.shape)) if other != axis % len(x.shape)]
        mean, variance = tf.nn.moments(x, axes)
        count = int(tf.size(x)) // mean.shape[0]
        self.count += count
        self.first = self.first + count * mean.numpy()
        self.second = self.second + count * (variance + mean**2).numpy()
        return tf.cast(mean, tf.float32), tf.cast(variance, tf.float32)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the variance of all batches."""
        mean = self.first / self.count
        return mean, np.maximum(self.second / self.count - mean**2, 0.0)
