"""Forms of normalization layers, for TensorFlow; see ``channel_normalization`` for others.

Scales and shifts that the converter folds into no kernel are constants of 8 bits on the device.
"""

import tensorflow as tf
from keras import layers as kl

from tfcompress.compat.keras_layers import split_into_groups
from tfcompress.quantization.lowerings.channel_normalization import scaled, shifted


def layer_normalization(layer, call, tap):
    """Compute LayerNormalization without the negation of a product, for which devices have none.

    The statistics are those of the input itself, whose differences from the mean are small enough
    for 8 bits.
    """
    if layer.rms_scaling:
        return call

    def run(inputs):
        axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
        axes = [axis % len(inputs.shape) for axis in axes]
        shape = [size if i in axes else 1 for i, size in enumerate(inputs.shape)]
        return _normalized(layer, tap, tf.cast(inputs, tf.float32), axes, shape)

    return run


def group_normalization(layer, call, tap):
    """Compute GroupNormalization without the negation of a product, likewise."""
    del call

    def run(inputs):
        grouped, shape = split_into_groups(layer, inputs)
        grouped = tf.cast(grouped, tf.float32)
        rank = len(grouped.shape)
        groups = rank - 2 if layer.axis == -1 else layer.axis % (rank - 1)
        axes = [axis for axis in range(1, rank) if axis != groups]
        outputs = _normalized(layer, tap, grouped, axes, shape)
        return tf.reshape(outputs, tf.shape(inputs))

    return run


def _normalized(layer, tap, x, axes, shape):
    centred = x - tf.reduce_mean(x, axes, keepdims=True)
    variance = tf.reduce_mean(centred * centred, axes, keepdims=True)
    outputs = centred * tf.math.rsqrt(variance + layer.epsilon)
    if layer.scale:
        outputs = scaled(tap, outputs, tf.reshape(tf.cast(layer.gamma.value, tf.float32), shape))
    if layer.center:
        outputs = shifted(tap, outputs, tf.reshape(tf.cast(layer.beta.value, tf.float32), shape))
    return tf.cast(outputs, layer.compute_dtype)


def rms_normalization(layer, call, tap):
    """Compute RMSNormalization with a product in place of a square, which devices lack."""
    del call

    def run(inputs):
        x = tf.cast(inputs, tf.float32)
        mean = tf.reduce_mean(x * x, layer.axis, keepdims=True)
        outputs = x * tf.math.rsqrt(mean + layer.epsilon)
        outputs = scaled(tap, outputs, tf.cast(layer.scale.value, tf.float32))
        return tf.cast(outputs, layer.compute_dtype)

    return run


def unit_normalization(layer, call, tap):
    """Compute UnitNormalization over the last axis by the operation that devices have for it."""
    del tap

    def run(inputs):
        axes = [layer.axis] if isinstance(layer.axis, int) else layer.axis
        if {axis % len(inputs.shape) for axis in axes} != {len(inputs.shape) - 1}:
            return call(inputs)
        return tf.math.l2_normalize(inputs, -1, 1e-24)

    return run


FORMS = {
    kl.GroupNormalization: group_normalization,
    kl.LayerNormalization: layer_normalization,
    kl.RMSNormalization: rms_normalization,
    kl.UnitNormalization: unit_normalization,
}
