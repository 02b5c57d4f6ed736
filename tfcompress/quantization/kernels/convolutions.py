"""Convolutions as .tflite files say them: kernel layouts, paddings, groups.

TensorFlow's CPU kernels know no groups, no strides beside dilation and no unequal depthwise
strides, forwards or backwards. Windows are therefore cut from an explicitly padded image, groups
are split, and what cannot be strided is computed densely and thinned out.
"""

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Find the padding that keeps ``ceil(size / stride)`` windows; the odd one goes to the end.

    Args:
        size: of the image along one dimension.
        window: of the (dilated) kernel.
        stride: between windows.

    Returns:
        How many entries to add before and after.

    Example:
    ```python
    same_padding(4, window=3, stride=2)  # (0, 1)
    ```
    """
    total = max((math.ceil(size / stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def with_padding(
    value: tf.Tensor,
    windows: tuple[int, ...],
    strides: tuple[int, ...],
    padding: str,
    filling: float | tf.Tensor = 0.0,
) -> tf.Tensor:
    """Surround images so that their windows need no more padding.

    Args:
        value: shape (batch, ..., channels), with one spatial dimension per window.
        windows: sizes of the (dilated) kernel.
        strides: between windows.
        padding: "SAME" or "VALID".
        filling: what to fill with, ().

    Returns:
        The padded images.
    """
    if padding == "VALID":
        return value
    sizes = value.shape[1:-1]
    around = [same_padding(*entry) for entry in zip(sizes, windows, strides, strict=True)]
    if not any(map(sum, around)):
        return value
    return tf.pad(value, [(0, 0), *around, (0, 0)], constant_values=filling)


def _dilated(sizes, dilations):
    """Sizes of dilated kernels."""
    return tuple((size - 1) * dilation + 1 for size, dilation in zip(sizes, dilations, strict=True))


def convolution_2d(
    value: tf.Tensor,
    weights: tf.Tensor,
    options: Mapping[str, Any],
    filling: float | tf.Tensor = 0.0,
) -> tf.Tensor:
    """Convolve images, as CONV_2D does before its bias.

    Args:
        value: shape (batch, height, width, channels).
        weights: shape (filters, rows, columns, channels per group).
        options: the operation's options.
        filling: what surrounds the image, ().

    Returns:
        Shape (batch, rows, columns, filters).
    """
    strides = options["stride_h"], options["stride_w"]
    dilations = options.get("dilation_h_factor", 1), options.get("dilation_w_factor", 1)
    windows = _dilated(weights.shape[1:3], dilations)
    value = with_padding(value, windows, strides, options["padding"], filling)
    groups = value.shape[-1] // weights.shape[-1]
    if groups > 1 and groups == value.shape[-1]:
        return _depthwise(value, tf.transpose(weights, [1, 2, 0, 3]), strides, dilations)
    kernel = tf.transpose(weights, [1, 2, 3, 0])
    if groups == 1:
        return _strided(value, kernel, strides, dilations)
    pieces = zip(tf.split(value, groups, -1), tf.split(kernel, groups, -1), strict=True)
    return tf.concat([_strided(*piece, strides, dilations) for piece in pieces], -1)


def depthwise_convolution_2d(
    value: tf.Tensor,
    weights: tf.Tensor,
    options: Mapping[str, Any],
    filling: float | tf.Tensor = 0.0,
) -> tf.Tensor:
    """Convolve each channel by itself, as DEPTHWISE_CONV_2D does before its bias.

    Args:
        value: shape (batch, height, width, channels).
        weights: shape (1, rows, columns, channels * multiplier).
        options: the operation's options.
        filling: what surrounds the image, ().

    Returns:
        Shape (batch, rows, columns, channels * multiplier).
    """
    strides = options["stride_h"], options["stride_w"]
    dilations = options.get("dilation_h_factor", 1), options.get("dilation_w_factor", 1)
    windows = _dilated(weights.shape[1:3], dilations)
    value = with_padding(value, windows, strides, options["padding"], filling)
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


def transposed_convolution_2d(
    value: tf.Tensor, weights: tf.Tensor, size: Any, options: Mapping[str, Any]
) -> tf.Tensor:
    """Convolve backwards, as TRANSPOSE_CONV does before its bias.

    Args:
        value: shape (batch, rows, columns, channels).
        weights: shape (filters, height, width, channels).
        size: the file's output shape, four integers; the batch is taken from ``value``.
        options: the operation's options.

    Returns:
        Shape (batch, size[1], size[2], filters).
    """
    return tf.nn.conv2d_transpose(
        value,
        tf.transpose(weights, [1, 2, 0, 3]),
        _with_batch_of(value, size),
        (options["stride_h"], options["stride_w"]),
        options["padding"],
    )


def convolution_3d(value: tf.Tensor, weights: tf.Tensor, options: Mapping[str, Any]) -> tf.Tensor:
    """Convolve volumes, as CONV_3D does before its bias.

    Args:
        value: shape (batch, depth, height, width, channels).
        weights: shape (depth, rows, columns, channels, filters).
        options: the operation's options.

    Returns:
        Shape (batch, depth, rows, columns, filters).
    """
    strides, dilations = _in_space(options, "stride_"), _in_space(options, "dilation_")
    value = with_padding(value, _dilated(weights.shape[:3], dilations), strides, options["padding"])
    return tf.nn.convolution(value, weights, strides, "VALID", dilations=dilations)


def transposed_convolution_3d(
    value: tf.Tensor, weights: tf.Tensor, size: Any, options: Mapping[str, Any]
) -> tf.Tensor:
    """Convolve volumes backwards, as CONV_3D_TRANSPOSE does before its bias.

    Args:
        value: shape (batch, depth, rows, columns, channels).
        weights: shape (depth, height, width, filters, channels).
        size: the file's output shape, five integers; the batch is taken from ``value``.
        options: the operation's options.

    Returns:
        Shape (batch, size[1], size[2], size[3], filters).
    """
    return tf.nn.conv3d_transpose(
        value,
        weights,
        _with_batch_of(value, size),
        [1, *_in_space(options, "stride_"), 1],
        options["padding"],
    )


def _with_batch_of(value, size):
    """An output shape whose batch is that of a value."""
    return tf.stack([tf.shape(value)[0], *(int(entry) for entry in size[1:])])


def _in_space(options, what):
    """Read an option of each of three dimensions."""
    suffix = "_factor" if what == "dilation_" else ""
    return tuple(options.get(f"{what}{axis}{suffix}", 1) for axis in "dhw")
