"""Forms of normalization layers.

Scales and shifts that the converter folds into no kernel are constants of 8 bits on the device.
"""

import keras
import tensorflow as tf
from keras import layers as kl

from tfcompress.compat.keras_layers import split_into_groups
from tfcompress.keras_graph.fused_normalization import (
    has_fused_form,
    normalize_by_batch,
    scale_and_shift,
)
from tfcompress.quantization.arithmetic.fake_quantization import round_constant


def batch_normalization(layer, call, tap):
    """Compute BatchNormalization with TensorFlow's fused kernel where it applies.

    Where the converter cannot fold the normalization into a convolution before it, the device
    stores the scaled input before the shift is added: the inner tensor "scaled".
    """

    def run(inputs, training=None, mask=None):
        if not has_fused_form(layer, inputs, mask):
            return call(inputs, training=training, mask=mask)
        x = tf.cast(inputs, tf.float32)
        gamma, beta = scale_and_shift(layer)
        if training and layer.trainable:
            outputs, mean, variance = normalize_by_batch(layer, x, gamma, beta)
        else:
            outputs = None
            mean = tf.cast(layer.moving_mean.value, tf.float32)
            variance = tf.cast(layer.moving_variance.value, tf.float32)
        scale = gamma * tf.math.rsqrt(variance + layer.epsilon)
        shift = beta - mean * scale
        scaled = x * scale if outputs is None else outputs - shift
        shifts = [shift]

        def stored():
            shifts.append(round_constant(shift))
            return x * round_constant(scale)

        seen = tap("scaled", scaled, stored=stored)
        if outputs is None or seen is not scaled:
            outputs = seen + shifts[-1]
        return tf.cast(outputs, layer.compute_dtype)

    return run


def with_moving_statistics(call):
    """Return the call of a BatchNormalization that uses its moving statistics in training, too."""

    def run(inputs, training=None, **kwargs):
        del training
        return call(inputs, training=False, **kwargs)

    return run


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
        outputs = _scaled(tap, outputs, tf.reshape(tf.cast(layer.gamma.value, tf.float32), shape))
    if layer.center:
        outputs = _shifted(tap, outputs, tf.reshape(tf.cast(layer.beta.value, tf.float32), shape))
    return tf.cast(outputs, layer.compute_dtype)


def _scaled(tap, x, scale):
    return tap("scaled", x * scale, stored=lambda: x * round_constant(scale))


def _shifted(tap, x, shift):
    return tap("shifted", x + shift, stored=lambda: x + round_constant(shift))


def rms_normalization(layer, call, tap):
    """Compute RMSNormalization with a product in place of a square, which devices lack."""
    del call

    def run(inputs):
        x = tf.cast(inputs, tf.float32)
        mean = tf.reduce_mean(x * x, layer.axis, keepdims=True)
        outputs = x * tf.math.rsqrt(mean + layer.epsilon)
        outputs = _scaled(tap, outputs, tf.cast(layer.scale.value, tf.float32))
        return tf.cast(outputs, layer.compute_dtype)

    return run


def normalization(layer, call, tap):
    """Compute Normalization: a subtraction and a product with constants."""
    if layer.invert:
        return call

    def run(inputs):
        x = tf.cast(inputs, layer.compute_dtype)
        mean, variance = (
            tf.cast(tf.convert_to_tensor(value), x.dtype) for value in (layer.mean, layer.variance)
        )
        scale = 1.0 / tf.maximum(tf.sqrt(variance), keras.backend.epsilon())
        return _scaled(tap, _shifted(tap, x, -mean), scale)

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
    kl.BatchNormalization: batch_normalization,
    kl.GroupNormalization: group_normalization,
    kl.LayerNormalization: layer_normalization,
    kl.Normalization: normalization,
    kl.RMSNormalization: rms_normalization,
    kl.UnitNormalization: unit_normalization,
}
