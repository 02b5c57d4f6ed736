"""Forms of layers that normalize channels by stored statistics, on every backend of Keras.

Scales and shifts that the converter folds into no kernel are constants of 8 bits on the device, and
what they make is stored between: the inner tensors "scaled" and "shifted".
"""

import keras
from keras import layers as kl
from keras import ops

from tfcompress.keras_graph.fused_normalization import (
    has_fused_form,
    normalize_by_batch,
    scale_and_shift,
)
from tfcompress.quantization.arithmetic.fake_quantization import round_constant, straight_through


def batch_normalization(layer, call, tap):
    """Compute BatchNormalization in two steps; on TensorFlow, train with the fused kernel."""

    def run(inputs, training=None, mask=None):
        if not has_fused_form(layer, inputs, mask):
            return call(inputs, training=training, mask=mask)
        x = ops.cast(inputs, "float32")
        gamma, beta = scale_and_shift(layer)
        if training and layer.trainable:
            outputs, mean, variance = normalize_by_batch(layer, x, gamma, beta)
        else:
            outputs = None
            mean = ops.cast(layer.moving_mean.value, "float32")
            variance = ops.cast(layer.moving_variance.value, "float32")
        scale = gamma * ops.rsqrt(variance + layer.epsilon)
        shift = beta - mean * scale
        before = x * scale if outputs is None else outputs - shift
        shifts = [shift]

        def stored():
            shifts.append(round_constant(shift))
            constant = x * round_constant(scale)
            # The gradient is that of the batch's own statistics, too, which the kernel keeps.
            return constant if outputs is None else straight_through(before, constant)

        seen = tap("scaled", before, stored=stored)
        if outputs is None or seen is not before:
            outputs = seen + shifts[-1]
        return ops.cast(outputs, layer.compute_dtype)

    return run


def folded_scale(layer):
    """Return what a BatchNormalization scales channels by in inference, float32 (channels,)."""
    gamma, _ = scale_and_shift(layer)
    return gamma * ops.rsqrt(ops.cast(layer.moving_variance.value, "float32") + layer.epsilon)


def with_moving_statistics(call):
    """Return the call of a BatchNormalization that uses its moving statistics in training, too."""

    def run(inputs, training=None, **kwargs):
        del training
        return call(inputs, training=False, **kwargs)

    return run


def normalization(layer, call, tap):
    """Compute Normalization: a subtraction and a product with constants."""
    if layer.invert:
        return call

    def run(inputs):
        x = ops.cast(inputs, layer.compute_dtype)
        mean, variance = (
            ops.cast(ops.convert_to_tensor(value), x.dtype)
            for value in (layer.mean, layer.variance)
        )
        scale = 1.0 / ops.maximum(ops.sqrt(variance), keras.backend.epsilon())
        return scaled(tap, shifted(tap, x, -mean), scale)

    return run


def scaled(tap, x, scale):
    """Offer an input times a scale."""
    return tap("scaled", x * scale, stored=lambda: x * round_constant(scale))


def shifted(tap, x, shift):
    """Offer an input plus a shift."""
    return tap("shifted", x + shift, stored=lambda: x + round_constant(shift))


FORMS = {kl.BatchNormalization: batch_normalization, kl.Normalization: normalization}
