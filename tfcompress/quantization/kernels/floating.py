"""The operations of a float .tflite file, computed by TensorFlow.

The results equal those of a runtime up to the order of float additions. The arithmetic of indices
(int32 and int64 tensors) is here as well; it is exact. All kernels can be differentiated where the
operation can. A kernel takes the operation and its inputs, as in ``structural.py``.
"""

import tensorflow as tf

from tfcompress.quantization.kernels import convolutions, structural
from tfcompress.quantization.kernels.lstm import sequence_lstm
from tfcompress.quantization.kernels.requantization import fused_activation
from tfcompress.quantization.kernels.structural import (
    function_of_inputs,
    function_of_options,
    reduction,
)

_ACTIVATIONS = {
    "NONE": lambda value: value,
    "RELU": tf.nn.relu,
    "RELU_N1_TO_1": lambda value: tf.clip_by_value(value, -1.0, 1.0),
    "RELU6": tf.nn.relu6,
    "TANH": tf.tanh,
}


def _activated(operation, value, bias=None):
    """Add a bias, if there is one, and apply the activation that is fused into an operation."""
    name = fused_activation(operation)
    if name not in _ACTIVATIONS:
        raise ValueError(
            f"{operation.name} (operation {operation.index}): supported fused activations are "
            f"{', '.join(_ACTIVATIONS)}. Received: {name}"
        )
    return [_ACTIVATIONS[name](value if bias is None else value + bias)]


def _convolution(function):
    """Make the kernel of a convolution."""

    def kernel(operation, inputs):
        value, weights, bias = (*inputs, None)[:3]
        return _activated(operation, function(value, weights, operation.options), bias)

    return kernel


def _transposed_convolution(function):
    """Make the kernel of a convolution backwards, to a size that the file says."""

    def kernel(operation, inputs):
        size, weights, value, bias = (*inputs, None)[:4]
        size = structural.static(size, operation, "output shape")
        return _activated(operation, function(value, weights, size, operation.options), bias)

    return kernel


def _fully_connected(operation, inputs):
    """FULLY_CONNECTED."""
    value, weights, bias = (*inputs, None)[:3]
    keep = operation.options.get("keep_num_dims", False)
    return _activated(operation, convolutions.rows_times_weights(value, weights, keep), bias)


def _arithmetic(function):
    """Make the kernel of ADD and the like, of numbers with a fused activation, or of indices."""
    return lambda operation, inputs: _activated(operation, function(*inputs))


def _division(dividend, divisor):
    """Divide; whole numbers are cut off towards zero."""
    return (tf.truncatediv if dividend.dtype.is_integer else tf.divide)(dividend, divisor)


def _average_pool(operation, inputs):
    """AVERAGE_POOL_2D over the part of each window inside the image."""
    padding = operation.options["padding"]
    averages = tf.nn.avg_pool2d(inputs[0], *structural.window_of(operation), padding)
    return _activated(operation, averages)


def _softmax(operation, inputs):
    """SOFTMAX."""
    beta = operation.options.get("beta", 1.0)
    return [tf.nn.softmax(inputs[0] if beta == 1 else inputs[0] * beta)]


def _l2_normalization(operation, inputs):
    """L2_NORMALIZATION along the last dimension."""
    length = tf.sqrt(tf.reduce_sum(tf.square(inputs[0]), -1, keepdims=True))
    return _activated(operation, inputs[0] / tf.maximum(length, 1e-6))


def _cumsum(operation, inputs):
    """CUMSUM."""
    axis = structural.static_axis(inputs[1], operation)
    modes = (operation.options.get(mode, False) for mode in ("exclusive", "reverse"))
    return [tf.cumsum(inputs[0], axis, *modes)]


_OF_INPUTS = {
    "LOGISTIC": tf.sigmoid,
    "TANH": tf.tanh,
    "RELU": tf.nn.relu,
    "RELU6": tf.nn.relu6,
    "RELU_N1_TO_1": _ACTIVATIONS["RELU_N1_TO_1"],
    "RELU_0_TO_1": lambda value: tf.clip_by_value(value, 0.0, 1.0),
    "ELU": tf.nn.elu,
    "HARD_SWISH": lambda value: value * tf.nn.relu6(value + 3.0) / 6.0,
    "PRELU": lambda value, slope: tf.where(value >= 0, value, value * slope),
    "LOG_SOFTMAX": tf.nn.log_softmax,
    "EXP": tf.exp,
    "LOG": tf.math.log,
    "SQRT": tf.sqrt,
    "RSQRT": tf.math.rsqrt,
    "SQUARE": tf.square,
    "ABS": tf.abs,
    "NEG": tf.negative,
    "SIN": tf.sin,
    "COS": tf.cos,
    "FLOOR": tf.floor,
    "CEIL": tf.math.ceil,
    "ROUND": tf.round,
    "SIGN": tf.sign,
    "ADD_N": lambda *values: tf.add_n(values),
    "SQUARED_DIFFERENCE": tf.math.squared_difference,
    "POW": tf.pow,
    "FLOOR_DIV": tf.math.floordiv,
    "FLOOR_MOD": tf.math.floormod,
    "ATAN2": tf.math.atan2,
}

_CONCATENATION = structural.MOVES["CONCATENATION"]

FLOAT = {
    **structural.MOVES,
    **structural.INDICES,
    **{name: function_of_inputs(function) for name, function in _OF_INPUTS.items()},
    "CONV_2D": _convolution(convolutions.convolution_2d),
    "DEPTHWISE_CONV_2D": _convolution(convolutions.depthwise_convolution_2d),
    "TRANSPOSE_CONV": _transposed_convolution(convolutions.transposed_convolution_2d),
    "CONV_3D": _convolution(convolutions.convolution_3d),
    "CONV_3D_TRANSPOSE": _transposed_convolution(convolutions.transposed_convolution_3d),
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": function_of_options(convolutions.matrix_product),
    "ADD": _arithmetic(tf.add),
    "SUB": _arithmetic(tf.subtract),
    "MUL": _arithmetic(tf.multiply),
    "DIV": _arithmetic(_division),
    "AVERAGE_POOL_2D": _average_pool,
    "MAX_POOL_2D": lambda op, inputs: _activated(op, structural.max_pool(op, inputs[0])),
    "CONCATENATION": lambda op, inputs: _activated(op, *_CONCATENATION(op, inputs)),
    "MEAN": reduction(tf.reduce_mean),
    "SUM": reduction(tf.reduce_sum),
    "REDUCE_PROD": reduction(tf.reduce_prod),
    "SOFTMAX": _softmax,
    "LEAKY_RELU": function_of_options(lambda options, x: tf.nn.leaky_relu(x, options["alpha"])),
    "GELU": function_of_options(
        lambda options, x: tf.nn.gelu(x, options.get("approximate", False))
    ),
    "L2_NORMALIZATION": _l2_normalization,
    "CUMSUM": _cumsum,
    "RESIZE_BILINEAR": structural.resize(tf.raw_ops.ResizeBilinear),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": lambda op, inputs: [sequence_lstm(op, inputs).hidden],
}
