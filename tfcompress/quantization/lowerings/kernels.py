"""Lowerings of layers that devices compute by other kernels than TensorFlow, which runs them."""

import numpy as np
import tensorflow as tf
from keras import layers as kl

from tfcompress.keras_graph.interception import is_deploying


def three_dimensional(layer, call, tap):
    """Compute Conv3D as one convolution over height and width, its depth taps laid side by side."""
    del tap
    if layer.data_format != "channels_last" or layer.groups != 1:
        return call

    def run(inputs):
        taps, dilation = layer.kernel_size[0], layer.dilation_rate[0]
        stride = layer.strides[0]
        reach = (taps - 1) * dilation
        padding = layer.padding.upper()
        x = inputs
        if padding == "SAME":
            steps = -(-x.shape[1] // stride)
            missing = max((steps - 1) * stride + reach + 1 - x.shape[1], 0)
            x = tf.pad(x, [[0, 0], [missing // 2, missing - missing // 2], [0, 0], [0, 0], [0, 0]])
        steps = (x.shape[1] - reach - 1) // stride + 1
        last = (steps - 1) * stride + 1
        slices = [x[:, k * dilation : k * dilation + last : stride] for k in range(taps)]
        flat = tf.reshape(tf.concat(slices, -1), [-1, *x.shape[2:4], taps * x.shape[4]])
        kernel = tf.transpose(tf.convert_to_tensor(layer.kernel), [1, 2, 0, 3, 4])
        kernel = tf.reshape(kernel, [*layer.kernel_size[1:], flat.shape[-1], layer.filters])
        spatial = {"strides": layer.strides[1:], "dilations": layer.dilation_rate[1:]}
        outputs = tf.nn.conv2d(flat, kernel, padding=padding, **spatial)
        if layer.use_bias:
            outputs = tf.nn.bias_add(outputs, tf.convert_to_tensor(layer.bias))
        if layer.activation is not None:
            outputs = layer.activation(outputs)
        return tf.reshape(outputs, [-1, steps, *outputs.shape[1:]])

    return run


def looked_up(layer, call, tap):
    """Look up rows; a device is not asked to count negative indices from the table's end.

    The range of rows of 16 bits is that of the table: a batch holds few of them.
    """

    def run(inputs):
        as_keras_does = layer.quantization_mode is not None or not is_deploying()
        if as_keras_does or not tf.as_dtype(inputs.dtype).is_integer:
            outputs = call(inputs)
        else:
            outputs = tf.gather(tf.convert_to_tensor(layer.embeddings), tf.cast(inputs, tf.int32))
        table = tf.convert_to_tensor(layer.embeddings)
        return tap("rows", tf.cast(outputs, layer.compute_dtype), observed=lambda: table)

    return run


def enlarged(layer, call, tap):
    """Repeat the pixels of UpSampling by a resize: not every runtime has copies of slices.

    Steps of a series are pixels of one row; a volume is resized in its planes, then along them.
    """
    del tap
    nearest = getattr(layer, "interpolation", "nearest") == "nearest"
    if not nearest or getattr(layer, "data_format", "channels_last") != "channels_last":
        return call

    def run(inputs):
        *sizes, channels = inputs.shape[1:]
        if None in sizes:
            return call(inputs)
        factors = [layer.size] if isinstance(layer.size, int) else list(layer.size)
        made = [size * factor for size, factor in zip(sizes, factors, strict=True)]
        x = inputs
        if len(sizes) == 1:
            x = _repeated_pixels(x[:, :, tf.newaxis], (*factors, 1))
        elif len(sizes) == 2:
            x = _repeated_pixels(x, factors)
        else:
            x = _repeated_pixels(tf.reshape(x, [-1, *sizes[1:], channels]), factors[1:])
            x = tf.reshape(x, [-1, sizes[0], made[1] * made[2], channels])
            x = _repeated_pixels(x, (factors[0], 1))
        return tf.reshape(x, [-1, *made, channels]) if len(sizes) != 2 else x

    return run


def _repeated_pixels(images, factors):
    """Repeat the rows and the columns of images, (batch, height, width, channels)."""
    sizes = images.shape[1:3]
    exact = all(map(_hits_every_pixel, sizes, factors))
    return tf.raw_ops.ResizeNearestNeighbor(
        images=images,
        size=[size * factor for size, factor in zip(sizes, factors, strict=True)],
        half_pixel_centers=not exact,
    )


def _hits_every_pixel(size, factor):
    """Tell whether a resize finds the pixels from their corners, in float32 as kernels do."""
    places = np.arange(size * factor)
    step = np.float32(size) / np.float32(size * factor)
    return (np.floor(places.astype(np.float32) * step) == places // factor).all()


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
    kl.Conv3D: three_dimensional,
    kl.Embedding: looked_up,
    kl.UnitNormalization: unit_normalization,
    kl.UpSampling1D: enlarged,
    kl.UpSampling2D: enlarged,
    kl.UpSampling3D: enlarged,
}
