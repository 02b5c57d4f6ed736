"""Pointwise convolutions computed as matrix products.

A kernel of 1x1 multiplies the channels of each pixel by one matrix. TensorFlow's convolution on
CPUs takes up to twice as long for it as its matrix product does, for the gradients above all. The
numbers are the same to float rounding.
"""

from collections.abc import Callable

import keras
from keras import ops

from tfcompress.keras_graph.inner_tensors import unwatched


def is_pointwise(layer: keras.Layer) -> bool:
    """Tell whether a layer is a Conv2D that is a product of its pixels with one matrix.

    Not where the tensor before the activation function is the convolution's: it may have a hook.
    """
    return (
        type(layer) is keras.layers.Conv2D
        and (*layer.kernel_size, *layer.strides, layer.groups) == (1, 1, 1, 1, 1)
        and layer.data_format == "channels_last"
        and (layer.use_bias or layer.activation is keras.activations.linear)
    )


def product_of_pixels(layer: keras.layers.Conv2D) -> Callable:
    """Return the ``convolution_op`` of a pointwise Conv2D, as a product where sizes are known."""
    convolve = layer.convolution_op

    @unwatched
    def multiply(inputs, kernel):
        pixels = ops.reshape(inputs, (-1, inputs.shape[-1]))
        outputs = ops.matmul(pixels, ops.reshape(kernel, kernel.shape[2:]))
        return ops.reshape(outputs, (-1, *inputs.shape[1:-1], kernel.shape[-1]))

    def run(inputs, kernel):
        is_single = keras.backend.standardize_dtype(inputs.dtype) == "float32"
        known = is_single and None not in inputs.shape[1:]
        return (multiply if known else convolve)(inputs, kernel)

    return run
