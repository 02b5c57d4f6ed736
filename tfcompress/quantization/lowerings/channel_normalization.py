"""Forms of layers that normalize channels by stored statistics, on every backend of Keras.

Scales and shifts that the converter folds into no kernel are constants of 8 bits on the device, and
what they make is stored between: the inner tensors "scaled" and "shifted".
"""

import functools

import keras
from keras import layers as kl
from keras import ops

from tfcompress.keras_graph.fused_normalization import (
    has_fused_form,
    normalize_by_batch,
    normalize_in_sight,
    scale_and_shift,
)
from tfcompress.quantization.arithmetic.fake_quantization import round_constant, straight_through


def batch_normalization(layer, call, tap):
    """Compute BatchNormalization in two steps; on TensorFlow, train with the fused kernel."""

    def run(inputs, training=None, mask=None):
        if not has_fused_form(layer, inputs, mask):
            return call(inputs, training=training, mask=mask)
        learns = training and layer.trainable
        normalize = _by_batch if learns else _by_stored_statistics
        return ops.cast(normalize(layer, ops.cast(inputs, "float32"), tap), layer.compute_dtype)

    return run


def _by_stored_statistics(layer, x, tap):
    """Scale and shift by what the moving statistics make."""
    statistics = (layer.moving_mean.value, layer.moving_variance.value)
    scale, shift = _steps(layer, *(ops.cast(value, "float32") for value in statistics))
    shifts = [shift]

    def stored():
        shifts.append(round_constant(shift))
        return x * round_constant(scale)

    return tap("scaled", x * scale, stored=stored) + shifts[-1]


def _by_batch(layer, x, tap):
    """Normalize by the statistics of the batch; in two steps where the device stores the first."""
    gamma, beta = scale_and_shift(layer)

    @functools.cache
    def in_steps():
        outputs, mean, variance = normalize_in_sight(layer, x, gamma, beta)
        scale, shift = _steps(layer, mean, variance)
        return outputs, outputs - shift, scale, [shift]

    def before():
        return in_steps()[1]

    def stored():
        _, exact, scale, shifts = in_steps()
        shifts.append(round_constant(shifts[0]))
        # The gradient is that of the batch's own statistics, too, which the kernel keeps.
        return straight_through(exact, x * round_constant(scale))

    seen = tap("scaled", before, stored=stored)
    if seen is before:
        return normalize_by_batch(layer, x, gamma, beta)
    outputs, exact, _, shifts = in_steps()
    return outputs if seen is exact else seen + shifts[-1]


def _steps(layer, mean, variance):
    """Return the scale and the shift that statistics make."""
    gamma, beta = scale_and_shift(layer)
    scale = gamma * ops.rsqrt(variance + layer.epsilon)
    return scale, beta - mean * scale


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
