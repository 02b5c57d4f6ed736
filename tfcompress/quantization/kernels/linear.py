"""The integer kernels that sum products: convolutions, fully connected layers, matrix products.

A kernel is a function ``kernel(operation, inputs, grids, kernels)``: the file's ``Operation``; its
inputs as ``Integers`` (a plain tensor for a shape, None where absent); a list of the output's
``Grid``; and "xnnpack" or "reference". It returns a list of the output's integers, whole numbers in
float32. The leading dimension may be any multiple of the file's.

With 8-bit activations the products are summed in float32. That is exact, in any order, while no
partial sum reaches 2**24, which takes more than 518 products of the largest magnitude, or thousands
of trained weights. Beyond, a sum may be rounded by one part in 2**24, which moves an output by one
if it lies that close to a half. With 16-bit activations sums soon exceed 2**24 and are computed in
float64, which holds them up to 2**53.
"""

import tensorflow as tf

from tfcompress.quantization.kernels import requantization as rq
from tfcompress.quantization.kernels.grids import less_zero_point

_EXACT_IN_FLOAT32 = 1 << 24


def conv_2d(operation, inputs, grids, kernels):
    """Compute CONV_2D: activations NHWC, weights OHWI, a bias or none."""
    activations, weights, bias = _three(inputs)
    options = operation.options
    summed = _sum_type(activations)
    sums = tf.nn.conv2d(
        tf.cast(less_zero_point(activations), summed),
        tf.cast(tf.transpose(weights.values, (1, 2, 3, 0)), summed),
        strides=(options["stride_h"], options["stride_w"]),
        padding=options["padding"],
        dilations=(options["dilation_h_factor"], options["dilation_w_factor"]),
    )
    vectorized = True if weights.grid.dtype == "INT4" else None
    operands = activations, weights
    return [_convolved(operation, sums, bias, operands, grids[0], kernels, vectorized)]


def depthwise_conv_2d(operation, inputs, grids, kernels):
    """Compute DEPTHWISE_CONV_2D: activations NHWC, weights (1, height, width, channels)."""
    activations, weights, bias = _three(inputs)
    options = operation.options
    summed = _sum_type(activations)
    strides = options["stride_h"], options["stride_w"]
    dilations = options["dilation_h_factor"], options["dilation_w_factor"]
    _, height, width, channels = weights.values.shape
    values = tf.cast(less_zero_point(activations), summed)
    channels_in = values.shape[-1]
    kernel = tf.reshape(weights.values, (height, width, channels_in, channels // channels_in))
    if options["padding"] == "SAME":
        values = _same_padded(values, (height, width), strides, dilations)
    # TensorFlow's kernel takes neither two different strides nor strides with dilation.
    native = strides[0] == strides[1] and dilations == (1, 1)
    sums = tf.nn.depthwise_conv2d(
        values,
        tf.cast(kernel, summed),
        strides=(1, *strides, 1) if native else (1, 1, 1, 1),
        padding="VALID",
        dilations=dilations,
    )
    if not native:
        sums = sums[:, :: strides[0], :: strides[1]]
    vectorized = _in_eights(channels) if weights.grid.dtype == "INT4" else None
    operands = activations, weights
    return [_convolved(operation, sums, bias, operands, grids[0], kernels, vectorized)]


def fully_connected(operation, inputs, grids, kernels):
    """Compute FULLY_CONNECTED: activations (..., in), weights (out, in), a bias or none."""
    activations, weights, bias = _three(inputs)
    summed = _sum_type(activations)
    units, size = weights.values.shape
    values = tf.cast(less_zero_point(activations), summed)
    sums = tf.matmul(
        tf.reshape(values, (-1, size)), tf.cast(weights.values, summed), transpose_b=True
    )
    if operation.options["keep_num_dims"]:
        sums = tf.reshape(sums, tf.concat([tf.shape(values)[:-1], [units]], 0))
    scales, grid = (activations.grid.scale, weights.grid.scale), grids[0]
    wide = activations.grid.dtype == "INT16"
    if kernels == "reference" or (wide and bias is not None):
        real = rq.ratio(rq.product_in_float64(*scales), grid.scale)
        return [_clamped(operation, _in_double(sums, bias, real), grid, "reference")]
    # XNNPACK wants whole bytes of 4-bit weights in each row.
    if wide or (weights.grid.dtype == "INT4" and size % 2):
        product = rq.product_in_float64 if weights.grid.scale.shape.rank else rq.product_in_float32
        real = rq.ratio(product(*scales), grid.scale)
        values = _twice_rounded(sums, bias, real, vectorized=True)
        return [_clamped(operation, values, grid, "reference")]
    return [_by_xnnpack(operation, sums, bias, (activations, weights), grid)]


def transpose_conv(operation, inputs, grids, kernels):
    """Compute TRANSPOSE_CONV: the output's shape, weights OHWI, activations NHWC, maybe a bias."""
    shape, weights, activations, *rest = inputs
    bias = rest[0] if rest else None
    options = operation.options
    summed = _sum_type(activations)
    values = tf.cast(less_zero_point(activations), summed)
    sums = tf.nn.conv2d_transpose(
        values,
        tf.cast(tf.transpose(weights.values, (1, 2, 0, 3)), summed),
        output_shape=tf.concat([tf.shape(values)[:1], tf.cast(shape, tf.int32)[1:]], 0),
        strides=(options["stride_h"], options["stride_w"]),
        padding=options["padding"],
    )
    channels, height, width, _ = weights.values.shape
    # XNNPACK takes no kernel that leaves gaps with SAME padding.
    gaps = height < options["stride_h"] or width < options["stride_w"]
    vectorized = _in_eights(channels) if options["padding"] == "SAME" and gaps else None
    operands = activations, weights
    return [_convolved(operation, sums, bias, operands, grids[0], kernels, vectorized)]


def batch_matmul(operation, inputs, grids, kernels):
    """Compute BATCH_MATMUL of two tensors (..., rows, columns), each transposed if asked."""
    first, second = inputs
    summed = _sum_type(first)
    sums = tf.matmul(
        tf.cast(less_zero_point(first), summed),
        tf.cast(less_zero_point(second), summed),
        transpose_a=operation.options["adj_x"],
        transpose_b=operation.options["adj_y"],
    )
    grid = grids[0]
    real = rq.ratio(rq.product_in_float32(first.grid.scale, second.grid.scale), grid.scale)

    def built_in():
        values = _twice_rounded(sums, None, real)
        return _clamped(operation, values, grid, "reference")

    if first.grid.dtype == "INT16":
        values = rq.multiply_16_bit(tf.cast(sums, tf.int64), *rq.fixed_point_multiplier(real))
        return [_clamped(operation, values, grid, "reference")]
    if kernels == "reference":
        return [built_in()]
    return [
        tf.cond(
            tf.equal(second.grid.zero_point, 0),
            lambda: _by_xnnpack(operation, sums, None, (first, second), grid),
            built_in,
        )
    ]


def _three(inputs):
    """Return activations, weights and the bias, None where the file has none."""
    return (*inputs, None)[:3]


def _sum_type(activations):
    """Return the type in which sums of products are exact."""
    return tf.float64 if activations.grid.dtype == "INT16" else tf.float32


def _same_padded(values, kernel_size, strides, dilations):
    """Pad height and width with zeros as SAME does: the odd one behind."""
    shape = tf.shape(values)
    paddings = [[0, 0]]
    for axis, (size, stride, dilation) in enumerate(
        zip(kernel_size, strides, dilations, strict=True), start=1
    ):
        steps = -(-shape[axis] // stride) - 1
        total = tf.maximum(steps * stride + (size - 1) * dilation + 1 - shape[axis], 0)
        paddings.append([total // 2, total - total // 2])
    return tf.pad(values, [*paddings, [0, 0]])


def _convolved(operation, sums, bias, operands, grid, kernels, vectorized=None):
    """Bring the sums of a convolution to the output's grid.

    Where XNNPACK leaves it to the built-in kernel, ``vectorized`` says which channels that computes
    with vector instructions.
    """
    activations, weights = operands
    real = rq.ratio(rq.product_in_float64(activations.grid.scale, weights.grid.scale), grid.scale)
    if activations.grid.dtype == "INT16":
        values = rq.multiply_16_bit(
            _whole_sums(sums, bias, tf.int64), *rq.fixed_point_multiplier(real)
        )
    elif kernels == "reference":
        values = _twice_rounded(sums, bias, real)
    elif vectorized is not None:
        values = _twice_rounded(sums, bias, real, vectorized)
    else:
        return _by_xnnpack(operation, sums, bias, operands, grid)
    return _clamped(operation, values, grid, "reference")


def _in_eights(channels):
    """Return which channels a built-in kernel computes eight at a time; the rest is one by one."""
    return tf.range(channels) < channels // 8 * 8


def _by_xnnpack(operation, sums, bias, operands, grid):
    """Bring sums to the output's grid as XNNPACK does."""
    scales = (each.grid.scale for each in operands)
    multiplier = rq.float32_multiplier(*scales, grid.scale)
    values = tf.round(_float32_sums(sums, bias) * multiplier)
    return _clamped(operation, values, grid, "xnnpack")


def _twice_rounded(sums, bias, real, vectorized=False):
    """Multiply sums and bias in fixed point."""
    return rq.multiply_fixed_point(
        _whole_sums(sums, bias, tf.int32), *rq.fixed_point_multiplier(real), vectorized
    )


def _in_double(sums, bias, real):
    """Multiply sums and bias in float64, and round halves away from zero."""
    return rq.round_half_away(tf.cast(_whole_sums(sums, bias, tf.int64), tf.float64) * real)


def _clamped(operation, values, grid, kernels):
    """Clamp to what the type and the fused activation allow, if the operation has one."""
    activation = operation.options.get("fused_activation_function", "NONE")
    return rq.clamped(values, activation, grid, kernels)


def _whole_sums(sums, bias, dtype):
    """Add the bias in integers."""
    whole = tf.cast(sums, dtype)
    return whole if bias is None else whole + tf.cast(bias.values, dtype)


def _float32_sums(sums, bias):
    """Return sum and bias rounded once to float32, as a kernel converts its 32-bit sum."""
    if bias is None:
        return sums
    fits = tf.reduce_all(tf.abs(tf.cast(bias.values, tf.int64)) <= _EXACT_IN_FLOAT32)
    return tf.cond(
        fits,
        lambda: sums + tf.cast(bias.values, tf.float32),
        lambda: tf.cast(tf.cast(sums, tf.float64) + tf.cast(bias.values, tf.float64), tf.float32),
    )


LINEAR = {
    "BATCH_MATMUL": batch_matmul,
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "FULLY_CONNECTED": fully_connected,
    "TRANSPOSE_CONV": transpose_conv,
}
