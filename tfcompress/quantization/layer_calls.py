"""What some layers compute, written so that every tensor that is stored on the device can be seen.

Most layers hand out the one tensor that they store. A layer listed here stores an inner tensor as
well, or has a faster equal form; its function computes the same values and offers the inner tensor
to ``tap(role, tensor)``, which returns what to go on with.
"""

import keras
import tensorflow as tf
from keras import layers as kl


def batch_normalization(layer, call, tap):
    """Compute BatchNormalization with TensorFlow's fused kernel where it applies.

    Where the converter cannot fold the normalization into a convolution before it, the device
    stores the scaled input before the shift is added: the inner tensor "scaled".
    """

    def run(inputs, training=None, mask=None):
        if mask is not None or layer.axis not in (-1, len(inputs.shape) - 1) or layer.synchronized:
            return call(inputs, training=training, mask=mask)
        x = tf.cast(inputs, tf.float32)
        channels = x.shape[-1]
        gamma = layer.gamma.value if layer.scale else tf.ones((channels,))
        beta = layer.beta.value if layer.center else tf.zeros((channels,))
        gamma, beta = tf.cast(gamma, tf.float32), tf.cast(beta, tf.float32)
        if training and layer.trainable:
            outputs, mean, variance = _fused_training_step(layer, x, gamma, beta)
        else:
            outputs = None
            mean = tf.cast(layer.moving_mean.value, tf.float32)
            variance = tf.cast(layer.moving_variance.value, tf.float32)
        scale = gamma * tf.math.rsqrt(variance + layer.epsilon)
        shift = beta - mean * scale
        scaled = x * scale if outputs is None else outputs - shift
        seen = tap("scaled", scaled)
        if outputs is None or seen is not scaled:
            outputs = seen + shift
        return tf.cast(outputs, layer.compute_dtype)

    return run


def _fused_training_step(layer, x, gamma, beta):
    """Normalize by the batch and update the moving statistics as Keras does."""
    shape = tf.shape(x)
    folded = x if len(x.shape) == 4 else tf.reshape(x, [-1, 1, 1, x.shape[-1]])
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        folded, gamma, beta, epsilon=layer.epsilon, is_training=True
    )
    # The kernel returns the unbiased variance; Keras keeps the biased one.
    count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
    variance *= (count - 1.0) / count
    momentum = layer.momentum
    layer.moving_mean.assign(layer.moving_mean * momentum + mean * (1.0 - momentum))
    layer.moving_variance.assign(layer.moving_variance * momentum + variance * (1.0 - momentum))
    return tf.reshape(outputs, shape), mean, variance


def separable_convolution(layer, call, tap):
    """Compute SeparableConv2D as the two convolutions that are deployed.

    The device stores what passes between them: the inner tensor "depthwise".
    """
    del call

    def run(inputs):
        spatial = {"strides": layer.strides, "padding": layer.padding}
        outputs = keras.ops.depthwise_conv(
            inputs,
            layer.depthwise_kernel,
            data_format=layer.data_format,
            dilation_rate=layer.dilation_rate,
            **spatial,
        )
        outputs = keras.ops.conv(
            tap("depthwise", outputs),
            layer.pointwise_kernel,
            strides=1,
            padding="valid",
            data_format=layer.data_format,
        )
        if layer.use_bias:
            shape = [1] * len(outputs.shape)
            shape[-1 if layer.data_format == "channels_last" else 1] = -1
            outputs = outputs + keras.ops.reshape(layer.bias, shape)
        return layer.activation(outputs) if layer.activation is not None else outputs

    return run


LAYER_CALLS = {
    kl.BatchNormalization: batch_normalization,
    kl.SeparableConv2D: separable_convolution,
}


def observable_call(layer, call, tap):
    """Return the form of a layer's ``call`` that shows its inner tensors; ``call`` by default.

    A subclass is left alone: it may compute something else.
    """
    form = LAYER_CALLS.get(type(layer))
    return call if form is None else form(layer, call, tap)
