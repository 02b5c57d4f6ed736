"""What a convolution multiplies its kernel with at each position."""

import keras
import tensorflow as tf


def extract_patches(layer: keras.Layer, x: tf.Tensor) -> tf.Tensor:
    """Return the patches of its input that a convolution reads.

    Args:
        layer: a convolution over one or two dimensions, plain or depthwise, channels last.
        x: float tensor (examples, *positions, channels).

    Returns:
        Float tensor (examples, rows, columns, taps * channels); one row for one dimension.
    """
    spatial = [layer.kernel_size, layer.strides, layer.dilation_rate]
    padding = layer.padding.upper()
    if len(layer.kernel_size) == 1:
        x = x[:, None]
        spatial = [(1, *sizes) for sizes in spatial]
    size, strides, rates = ([1, *sizes, 1] for sizes in spatial)
    if padding == "CAUSAL":
        x = tf.pad(x, [(0, 0), (0, 0), ((size[2] - 1) * rates[2], 0), (0, 0)])
        padding = "VALID"
    return tf.image.extract_patches(x, size, strides, rates, padding)
