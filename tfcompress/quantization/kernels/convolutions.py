"""Sums of products as .tflite files say them: kernel layouts, paddings, groups, transpositions.

Float and integer kernels share them. The options are those of the operation; sums carry no bias.
TensorFlow's CPU kernels know no groups, no strides beside dilation and no unequal depthwise
strides, forwards or backwards. Windows are therefore cut from an explicitly padded image, groups
are split, and what cannot be strided is computed densely and thinned out.
"""

import math

import tensorflow as tf


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Find the padding that keeps ``ceil(size / stride)`` windows; the odd one goes to the end.

    Example:
    >>> same_padding(4, window=3, stride=2)
    (0, 1)
    """
    total = max((math.ceil(size / stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def _each(options, what, axes="hw"):
    """Read the strides or the dilations along each axis."""
    if what == "stride":
        return tuple(options[f"stride_{axis}"] for axis in axes)
    return tuple(options.get(f"dilation_{axis}_factor", 1) for axis in axes)


def _padded(value, sizes, strides, dilations, padding, filling):
    """Surround images so that their windows need no more padding."""
    if padding == "VALID":
        return value
    windows = [(size - 1) * step + 1 for size, step in zip(sizes, dilations, strict=True)]
    around = list(map(same_padding, value.shape[1:-1], windows, strides))
    if not any(map(any, around)):
        return value
    return tf.pad(value, [(0, 0), *around, (0, 0)], constant_values=filling)


def convolution_2d(value, weights, options, filling=0.0):
    """Convolve images (batch, height, width, channels); ``filling`` is what surrounds them.

    Weights have shape (filters, rows, columns, channels of a group).
    """
    strides, dilations = _each(options, "stride"), _each(options, "dilation")
    sizes = weights.shape[1:3]
    value = _padded(value, sizes, strides, dilations, options["padding"], filling)
    groups = value.shape[-1] // weights.shape[-1]
    if groups > 1 and groups == value.shape[-1]:
        return _depthwise(value, tf.transpose(weights, [1, 2, 0, 3]), strides, dilations)
    kernel = tf.transpose(weights, [1, 2, 3, 0])
    if groups == 1:
        return _strided(value, kernel, strides, dilations)
    pieces = zip(tf.split(value, groups, -1), tf.split(kernel, groups, -1), strict=True)
    return tf.concat([_strided(*piece, strides, dilations) for piece in pieces], -1)


def depthwise_convolution_2d(value, weights, options, filling=0.0):
    """Convolve each channel by itself; weights (1, rows, columns, channels * multiplier)."""
    strides, dilations = _each(options, "stride"), _each(options, "dilation")
    sizes = weights.shape[1:3]
    value = _padded(value, sizes, strides, dilations, options["padding"], filling)
    return _depthwise(value, tf.squeeze(weights, 0), strides, dilations)


def _depthwise(value, weights, strides, dilations):
    """Convolve each channel; weights have shape (rows, columns, channels * multiplier)."""
    rows, columns = weights.shape[:2]
    kernel = tf.reshape(weights, [rows, columns, value.shape[-1], -1])
    thin = strides[0] != strides[1] or max(dilations) > 1
    taken = (1, 1) if thin else strides
    result = tf.nn.depthwise_conv2d(value, kernel, [1, *taken, 1], "VALID", dilations=dilations)
    return result[:, :: strides[0], :: strides[1]] if thin and max(strides) > 1 else result


def _strided(value, kernel, strides, dilations):
    """Convolve an image; TensorFlow takes strides or dilations, not both."""
    thin = max(dilations) > 1 and max(strides) > 1
    taken = (1, 1) if thin else strides
    result = tf.nn.convolution(value, kernel, taken, "VALID", dilations=dilations)
    return result[:, :: strides[0], :: strides[1]] if thin else result


def transposed_convolution_2d(value, weights, size, options):
    """Convolve images backwards to ``size``, four constants; weights as in ``convolution_2d``."""
    kernel, strides = tf.transpose(weights, [1, 2, 0, 3]), _each(options, "stride")
    size = _with_batch_of(value, size)
    return tf.nn.conv2d_transpose(value, kernel, size, strides, options["padding"])


def convolution_3d(value, weights, options):
    """Convolve volumes (batch, depth, height, width, channels).

    Weights have shape (depth, rows, columns, channels, filters).
    """
    strides, dilations = _each(options, "stride", "dhw"), _each(options, "dilation", "dhw")
    value = _padded(value, weights.shape[:3], strides, dilations, options["padding"], 0.0)
    return tf.nn.convolution(value, weights, strides, "VALID", dilations=dilations)


def transposed_convolution_3d(value, weights, size, options):
    """Convolve volumes backwards to ``size``; weights (depth, rows, columns, filters, channels)."""
    strides = [1, *_each(options, "stride", "dhw"), 1]
    size = _with_batch_of(value, size)
    return tf.nn.conv3d_transpose(value, weights, size, strides, options["padding"])


def _with_batch_of(value, size):
    """Return an output shape whose batch is that of a value."""
    return tf.stack([tf.shape(value)[0], *(int(entry) for entry in size[1:])])


def rows_times_weights(value, weights, keep_dimensions):
    """Multiply rows of ``size`` numbers, whatever the rank, by weights (units, size)."""
    units, size = weights.shape
    result = tf.matmul(tf.reshape(value, [-1, size]), weights, transpose_b=True)
    if keep_dimensions:
        result = tf.reshape(result, tf.concat([tf.shape(value)[:-1], [units]], 0))
        result.set_shape([*value.shape[:-1], units])
    return result


def matrix_product(options, first, second):
    """Multiply matrices (..., rows, columns), each transposed if the operation says so."""
    transposed = options.get("adj_x", False), options.get("adj_y", False)
    return tf.matmul(first, second, *transposed)
