"""The operations of a float .tflite file, computed by TensorFlow.

The results equal those of a runtime up to the order of float additions. The arithmetic of indices
(int32 and int64 tensors) is here as well; it is exact. All kernels can be differentiated where the
operation can.

A kernel takes the operation, its inputs (tensors; None where absent) and the file's shapes of its
outputs, and returns its outputs. ``FLOAT`` holds them by the operation's name.
"""

import tensorflow as tf

from tfcompress.quantization.kernels import structural
from tfcompress.quantization.kernels.convolutions import (
    convolution_2d,
    convolution_3d,
    depthwise_convolution_2d,
    transposed_convolution_2d,
    transposed_convolution_3d,
)
from tfcompress.quantization.kernels.lstm import sequence_lstm
from tfcompress.quantization.kernels.structural import binary, reducing
from tfcompress.tflite.model import Operation

ACTIVATIONS = {
    "NONE": tf.identity,
    "RELU": tf.nn.relu,
    "RELU_N1_TO_1": lambda value: tf.clip_by_value(value, -1.0, 1.0),
    "RELU6": tf.nn.relu6,
    "TANH": tf.tanh,
}


def activated(operation: Operation, value: tf.Tensor) -> tf.Tensor:
    """Apply the activation that is fused into an operation.

    Args:
        operation: the operation.
        value: its result without the activation.

    Returns:
        The activated value.

    Raises:
        ValueError: the activation is unknown.
    """
    name = operation.options.get("fused_activation_function", "NONE")
    if name not in ACTIVATIONS:
        raise ValueError(
            f"{operation.name} (operation {operation.index}): supported fused activations are "
            f"{', '.join(ACTIVATIONS)}. Received: {name}"
        )
    return value if name == "NONE" else ACTIVATIONS[name](value)


def _with_bias(operation, value, inputs, place):
    """Add the bias, if there is one, and activate."""
    if len(inputs) > place and inputs[place] is not None:
        value += inputs[place]
    return [activated(operation, value)]


def _conv_2d(operation, inputs, shapes):
    """CONV_2D."""
    value = convolution_2d(inputs[0], inputs[1], operation.options)
    return _with_bias(operation, value, inputs, 2)


def _depthwise_conv_2d(operation, inputs, shapes):
    """DEPTHWISE_CONV_2D."""
    value = depthwise_convolution_2d(inputs[0], inputs[1], operation.options)
    return _with_bias(operation, value, inputs, 2)


def _transpose_conv(operation, inputs, shapes):
    """TRANSPOSE_CONV."""
    size, weights, value = inputs[:3]
    size = structural.static(size, operation, "output shape")
    result = transposed_convolution_2d(value, weights, size, operation.options)
    return _with_bias(operation, result, inputs, 3)


def _conv_3d(operation, inputs, shapes):
    """CONV_3D."""
    value = convolution_3d(inputs[0], inputs[1], operation.options)
    return _with_bias(operation, value, inputs, 2)


def _conv_3d_transpose(operation, inputs, shapes):
    """CONV_3D_TRANSPOSE."""
    size, weights, value = inputs[:3]
    size = structural.static(size, operation, "output shape")
    result = transposed_convolution_3d(value, weights, size, operation.options)
    return _with_bias(operation, result, inputs, 3)


def _fully_connected(operation, inputs, shapes):
    """FULLY_CONNECTED: rows of ``weights.shape[1]`` values, whatever the rank."""
    value, weights = inputs[:2]
    units, depth = weights.shape
    rows = tf.reshape(value, [-1, depth])
    result = tf.matmul(rows, weights, transpose_b=True)
    result = _with_bias(operation, result, inputs, 2)[0]
    if operation.options.get("keep_num_dims"):
        result = tf.reshape(result, [-1, *value.shape[1:-1], units])
    return [result]


def _batch_matmul(operation, inputs, shapes):
    """BATCH_MATMUL."""
    options = operation.options
    return [
        tf.matmul(
            *inputs,
            transpose_a=options.get("adj_x", False),
            transpose_b=options.get("adj_y", False),
        )
    ]


def _arithmetic(function):
    """ADD, SUB, MUL, DIV, of numbers with a fused activation, or of indices."""

    def kernel(operation, inputs, shapes):
        return [activated(operation, function(*inputs))]

    return kernel


def _division(dividend, divisor):
    """Divide; whole numbers are cut off towards zero."""
    if dividend.dtype.is_integer:
        return tf.truncatediv(dividend, divisor)
    return tf.divide(dividend, divisor)


def _add_n(operation, inputs, shapes):
    """ADD_N."""
    return [tf.add_n(inputs)]


def _average_pool(operation, inputs, shapes):
    """AVERAGE_POOL_2D over the part of each window inside the image."""
    options = operation.options
    value = tf.nn.avg_pool2d(
        inputs[0],
        (options["filter_height"], options["filter_width"]),
        (options["stride_h"], options["stride_w"]),
        options["padding"],
    )
    return [activated(operation, value)]


def _max_pool(operation, inputs, shapes):
    """MAX_POOL_2D."""
    return [activated(operation, structural.max_pool(operation, inputs[0]))]


def _concatenation(operation, inputs, shapes):
    """CONCATENATION with its activation."""
    return [activated(operation, structural.MOVES["CONCATENATION"](operation, inputs, shapes)[0])]


def _softmax(operation, inputs, shapes):
    """SOFTMAX."""
    beta = operation.options.get("beta", 1.0)
    return [tf.nn.softmax(inputs[0] if beta == 1 else inputs[0] * beta)]


def _leaky_relu(operation, inputs, shapes):
    """LEAKY_RELU."""
    return [tf.nn.leaky_relu(inputs[0], operation.options["alpha"])]


def _prelu(operation, inputs, shapes):
    """PRELU."""
    value, slope = inputs
    return [tf.where(value >= 0, value, value * slope)]


def _gelu(operation, inputs, shapes):
    """GELU."""
    return [tf.nn.gelu(inputs[0], operation.options.get("approximate", False))]


def _hard_swish(value):
    """Multiply by a piecewise linear sigmoid (Howard et al. 2019)."""
    return value * tf.nn.relu6(value + 3.0) / 6.0


def _l2_normalization(operation, inputs, shapes):
    """L2_NORMALIZATION along the last dimension."""
    length = tf.sqrt(tf.reduce_sum(tf.square(inputs[0]), -1, keepdims=True))
    return [activated(operation, inputs[0] / tf.maximum(length, 1e-6))]


def _cumsum(operation, inputs, shapes):
    """CUMSUM."""
    options = operation.options
    axis = structural.static_axis(inputs[1], operation)
    exclusive, reverse = options.get("exclusive", False), options.get("reverse", False)
    return [tf.cumsum(inputs[0], axis, exclusive, reverse)]


def _resize(function):
    """RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""

    def kernel(operation, inputs, shapes):
        options = operation.options
        align = options.get("align_corners", False)
        half = options.get("half_pixel_centers", False)
        return [
            function(images=inputs[0], size=inputs[1], align_corners=align, half_pixel_centers=half)
        ]

    return kernel


def _unary(function):
    """Make the kernel of an operation of one tensor without options."""

    def kernel(operation, inputs, shapes):
        return [function(inputs[0])]

    return kernel


def _lstm(operation, inputs, shapes):
    """UNIDIRECTIONAL_SEQUENCE_LSTM."""
    return [sequence_lstm(operation, inputs).hidden]


def _power(base, exponent):
    """POW."""
    return tf.pow(base, exponent)


def _floor_division(dividend, divisor):
    """FLOOR_DIV."""
    return tf.math.floordiv(dividend, divisor)


_ELEMENTWISE = {
    "LOGISTIC": tf.sigmoid,
    "TANH": tf.tanh,
    "RELU": tf.nn.relu,
    "RELU6": tf.nn.relu6,
    "RELU_N1_TO_1": ACTIVATIONS["RELU_N1_TO_1"],
    "RELU_0_TO_1": lambda value: tf.clip_by_value(value, 0.0, 1.0),
    "ELU": tf.nn.elu,
    "HARD_SWISH": _hard_swish,
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
}

FLOAT = {
    **structural.MOVES,
    **structural.INDICES,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "TRANSPOSE_CONV": _transpose_conv,
    "CONV_3D": _conv_3d,
    "CONV_3D_TRANSPOSE": _conv_3d_transpose,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
    "ADD": _arithmetic(tf.add),
    "SUB": _arithmetic(tf.subtract),
    "MUL": _arithmetic(tf.multiply),
    "DIV": _arithmetic(_division),
    "ADD_N": _add_n,
    "SQUARED_DIFFERENCE": binary(tf.math.squared_difference),
    "POW": binary(_power),
    "FLOOR_DIV": binary(_floor_division),
    "FLOOR_MOD": binary(tf.math.floormod),
    "ATAN2": binary(tf.math.atan2),
    "AVERAGE_POOL_2D": _average_pool,
    "MAX_POOL_2D": _max_pool,
    "CONCATENATION": _concatenation,
    "MEAN": reducing(tf.reduce_mean),
    "SUM": reducing(tf.reduce_sum),
    "REDUCE_PROD": reducing(tf.reduce_prod),
    "SOFTMAX": _softmax,
    "LEAKY_RELU": _leaky_relu,
    "PRELU": _prelu,
    "GELU": _gelu,
    "L2_NORMALIZATION": _l2_normalization,
    "CUMSUM": _cumsum,
    "RESIZE_BILINEAR": _resize(tf.raw_ops.ResizeBilinear),
    "RESIZE_NEAREST_NEIGHBOR": _resize(tf.raw_ops.ResizeNearestNeighbor),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    **{name: _unary(function) for name, function in _ELEMENTWISE.items()},
}
