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


def rescaling(layer, call, tap):
    """Compute Rescaling; the device stores the product before the offset: "scaled"."""
    del call

    def run(inputs):
        dtype = layer.compute_dtype
        scaled = keras.ops.cast(inputs, dtype) * keras.ops.cast(layer.scale, dtype)
        return tap("scaled", scaled) + keras.ops.cast(layer.offset, dtype)

    return run


def normalization(layer, call, tap):
    """Compute Normalization; the device stores the input less the mean: "centred"."""
    if layer.invert:
        return call

    def run(inputs):
        inputs = keras.ops.cast(inputs, layer.compute_dtype)
        mean, variance = (keras.ops.cast(x, inputs.dtype) for x in (layer.mean, layer.variance))
        deviation = keras.ops.maximum(keras.ops.sqrt(variance), keras.config.epsilon())
        return tap("centred", inputs - mean) / deviation

    return run


def average(layer, call, tap):
    """Compute Average; the device stores each partial sum: "sum"."""
    del layer, call

    def run(inputs):
        total = inputs[0]
        for number, tensor in enumerate(inputs[1:], 2):
            total = tap(f"sum of {number}", total + tensor)
        return total / len(inputs)

    return run


def layer_normalization(layer, call, tap):
    """Compute LayerNormalization one operation at a time: each is stored on the device."""
    if layer.rms_scaling:
        return call

    def run(inputs):
        x = tf.cast(inputs, tf.float32)
        axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
        shape = [
            size if i in [a % len(x.shape) for a in axes] else 1 for i, size in enumerate(x.shape)
        ]
        centred = tap("centred", x - tap("mean", tf.reduce_mean(x, axes, keepdims=True)))
        squares = tap("squares", centred * centred)
        variance = tap("variance", tf.reduce_mean(squares, axes, keepdims=True))
        deviation = tap("variance and epsilon", variance + layer.epsilon)
        outputs = centred * tap("reciprocal", tf.math.rsqrt(deviation))
        if layer.scale:
            outputs = tap("normalized", outputs)
            outputs = outputs * tf.reshape(tf.cast(layer.gamma.value, tf.float32), shape)
        if layer.center:
            outputs = tap("scaled", outputs)
            outputs = outputs + tf.reshape(tf.cast(layer.beta.value, tf.float32), shape)
        return tf.cast(outputs, layer.compute_dtype)

    return run


def attention(layer, call, tap):
    """Compute MultiHeadAttention with its two products, their scale and softmax in sight."""
    stock = layer._compute_attention

    def compute(query, key, value, attention_mask=None, training=None, *settings, **named):
        special = [attention_mask is not None, *settings, *named.values()]  # scores, causal mask
        if any(special) or len(query.shape) != 4:
            return stock(query, key, value, attention_mask, training, *settings, **named)
        query, value = (tf.transpose(x, (0, 2, 1, 3)) for x in (query, value))
        products = tap("products", query @ tf.transpose(key, (0, 2, 3, 1)))
        scale = tf.cast(layer._inverse_sqrt_key_dim, products.dtype)
        scores = tf.nn.softmax(tap("scaled products", products * scale))
        scores = tap("scores", scores)
        if layer._dropout > 0.0:
            scores = layer._dropout_layer(scores, training=training)
        return tf.transpose(tap("heads", scores @ value), (0, 2, 1, 3)), None

    def run(*args, **kwargs):
        layer.__dict__["_compute_attention"] = compute
        try:
            return call(*args, **kwargs)
        finally:
            del layer.__dict__["_compute_attention"]

    return run


LAYER_CALLS = {
    kl.Average: average,
    kl.BatchNormalization: batch_normalization,
    kl.LayerNormalization: layer_normalization,
    kl.MultiHeadAttention: attention,
    kl.Normalization: normalization,
    kl.Rescaling: rescaling,
    kl.SeparableConv2D: separable_convolution,
}


def observable_call(layer, call, tap):
    """Return the form of a layer's ``call`` that shows its inner tensors; ``call`` by default.

    A subclass is left alone: it may compute something else.
    """
    form = LAYER_CALLS.get(type(layer))
    return call if form is None else form(layer, call, tap)
