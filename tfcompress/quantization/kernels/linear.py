"""The integer kernels that sum products: convolutions, fully connected layers, matrix products.

A kernel is a function ``kernel(operation, inputs, grids, kernels)``: the file's ``Operation``; its
inputs as ``Integers`` (a plain tensor for a shape, None where absent); a list of the output's
``Grid``; and "xnnpack" or "reference". It returns a list of the output's integers, whole numbers in
float32. The leading dimension may be any multiple of the file's.

With 8-bit activations the products are summed in float32. That is exact, in any order, while no
partial sum reaches 2**24, which takes more than 1,024 products of the largest magnitude, or many
thousands of trained weights. Beyond, a sum may be rounded by one part in 2**24, which moves an
output by one if it lies that close to a half. With 16-bit activations sums soon exceed 2**24 and
are computed in float64, which holds them up to 2**53.

The set "xnnpack" is what LiteRT 2.3 runs by default on x86-64: XNNPACK, and where that takes no
part, the built-in kernels with vector instructions. Those compute convolutions with 4-bit weights,
fully connected layers with 4-bit weights and an odd number of inputs, transposed convolutions whose
strides leave gaps, and everything in 16 bits. The reference kernels fix the output of fully
connected layers in float64, as does the other set in 16 bits; TFLite Micro does in fixed point.
XNNPACK refuses a file in which input scale * weight scale reaches 256 times the output scale.
"""

import tensorflow as tf

from tfcompress.quantization.kernels import requantization as rq
from tfcompress.quantization.kernels.grids import less_zero_point

_EXACT_IN_FLOAT32 = 1 << 24


def conv_2d(operation, inputs, grids, kernels):
    """Compute CONV_2D: activations NHWC, weights OHWI, a bias or none."""
    activations, weights, bias = _three(inputs)
    summed = _sum_type(activations)
    strides, dilations = _steps(operation)
    values = _padded(operation, activations, weights.values.shape[1:3])
    sums = tf.nn.conv2d(
        tf.cast(values, summed),
        tf.cast(tf.transpose(weights.values, (1, 2, 3, 0)), summed),
        strides=strides,
        padding="VALID",
        dilations=dilations,
    )
    offsets = _offsets(activations, weights, (1, 2, 3), bias)
    # XNNPACK convolves with no 4-bit weights; convolutions in groups have no vectorized kernel.
    groups = activations.values.shape[-1] // weights.values.shape[-1]
    vectorized = groups == 1 if weights.grid.dtype == "INT4" else None
    operands = activations, weights
    return [_convolved(operation, sums, offsets, operands, grids[0], kernels, vectorized)]


def depthwise_conv_2d(operation, inputs, grids, kernels):
    """Compute DEPTHWISE_CONV_2D: activations NHWC, weights (1, height, width, channels)."""
    activations, weights, bias = _three(inputs)
    summed = _sum_type(activations)
    strides, dilations = _steps(operation)
    _, height, width, channels = weights.values.shape
    channels_in = activations.values.shape[-1]
    kernel = tf.reshape(weights.values, (height, width, channels_in, channels // channels_in))
    values = _padded(operation, activations, (height, width))
    # TensorFlow's kernel takes neither two different strides nor strides with dilation.
    native = strides[0] == strides[1] and dilations == (1, 1)
    sums = tf.nn.depthwise_conv2d(
        tf.cast(values, summed),
        tf.cast(kernel, summed),
        strides=(1, *strides, 1) if native else (1, 1, 1, 1),
        padding="VALID",
        dilations=dilations,
    )
    if not native:
        sums = sums[:, :: strides[0], :: strides[1]]
    offsets = _offsets(activations, weights, (0, 1, 2), bias)
    vectorized = _in_eights(channels) if weights.grid.dtype == "INT4" else None
    operands = activations, weights
    return [_convolved(operation, sums, offsets, operands, grids[0], kernels, vectorized)]


def fully_connected(operation, inputs, grids, kernels):
    """Compute FULLY_CONNECTED: activations (..., in), weights (out, in), a bias or none."""
    activations, weights, bias = _three(inputs)
    sums, offsets = _products(operation, activations, weights, bias)
    scales, grid = (activations.grid.scale, weights.grid.scale), grids[0]
    wide, size = activations.grid.dtype == "INT16", weights.values.shape[1]
    if kernels == "reference" or (wide and bias is not None):
        real = rq.ratio(rq.product_in_float64(*scales), grid.scale)
        return [_clamped(operation, _in_double(sums, offsets, real), grid, "reference")]
    # XNNPACK wants whole bytes of 4-bit weights in each row.
    if wide or (weights.grid.dtype == "INT4" and size % 2):
        values = _twice_rounded(sums, offsets, _real_multiplier(*scales, grid), vectorized=True)
        return [_clamped(operation, values, grid, "reference")]
    return [_by_xnnpack(operation, sums, offsets, (activations, weights), grid)]


def fully_connected_in_fixed_point(operation, inputs, grids, kernels):
    """Compute FULLY_CONNECTED as TFLite Micro does, which fixes its output as a convolution's."""
    del kernels
    activations, weights, bias = _three(inputs)
    sums, offsets = _products(operation, activations, weights, bias)
    real = _real_multiplier(activations.grid.scale, weights.grid.scale, grids[0])
    if activations.grid.dtype == "INT16":
        values = _once_rounded(sums, offsets, real)
    else:
        values = _twice_rounded(sums, offsets, real)
    return [_clamped(operation, values, grids[0], "reference")]


def _products(operation, activations, weights, bias):
    """Return the sums of products of a fully connected layer, and what they lack."""
    summed = _sum_type(activations)
    units, size = weights.values.shape
    values = tf.cast(activations.values, summed)
    sums = tf.matmul(
        tf.reshape(values, (-1, size)), tf.cast(weights.values, summed), transpose_b=True
    )
    if operation.options["keep_num_dims"]:
        sums = tf.reshape(sums, tf.concat([tf.shape(values)[:-1], [units]], 0))
    return sums, _offsets(activations, weights, 1, bias)


def _real_multiplier(scale, weight_scale, grid):
    """Return the factor of a fully connected layer: one scale is multiplied in float32."""
    product = rq.product_in_float64 if weight_scale.shape.rank else rq.product_in_float32
    return rq.ratio(product(scale, weight_scale), grid.scale)


def transpose_conv(operation, inputs, grids, kernels):
    """Compute TRANSPOSE_CONV: the output's shape, weights OHWI, activations NHWC, maybe a bias."""
    shape, weights, activations, *bias = inputs
    strides, _ = _steps(operation)
    summed = _sum_type(activations)
    values = tf.cast(less_zero_point(activations), summed)
    sums = tf.nn.conv2d_transpose(
        values,
        tf.cast(tf.transpose(weights.values, (1, 2, 0, 3)), summed),
        output_shape=tf.concat([tf.shape(values)[:1], tf.cast(shape, tf.int32)[1:]], 0),
        strides=strides,
        padding=operation.options["padding"],
    )
    channels, *kernel_size, _ = weights.values.shape
    # XNNPACK takes no kernel that leaves gaps with SAME padding.
    gaps = any(size < stride for size, stride in zip(kernel_size, strides, strict=True))
    gaps = gaps and operation.options["padding"] == "SAME"
    offsets = bias[0].values if bias and bias[0] is not None else None
    vectorized = _in_eights(channels) if gaps else None
    operands = activations, weights
    return [_convolved(operation, sums, offsets, operands, grids[0], kernels, vectorized)]


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


def _steps(operation):
    """Return a convolution's strides and dilations, each for height and width."""
    options = operation.options
    return (
        (options["stride_h"], options["stride_w"]),
        (options.get("dilation_h_factor", 1), options.get("dilation_w_factor", 1)),
    )


def _padded(operation, activations, kernel_size):
    """Pad height and width with the zero point as SAME does: the odd one behind."""
    values = activations.values
    if operation.options["padding"] == "VALID" or tuple(kernel_size) == (1, 1):
        return values
    shape = tf.shape(values)
    paddings = [[0, 0]]
    for axis, (size, stride, dilation) in enumerate(
        zip(kernel_size, *_steps(operation), strict=True), start=1
    ):
        steps = -(-shape[axis] // stride) - 1
        total = tf.maximum(steps * stride + (size - 1) * dilation + 1 - shape[axis], 0)
        paddings.append([total // 2, total - total // 2])
    zero_point = tf.cast(activations.grid.zero_point, values.dtype)
    return tf.pad(values, [*paddings, [0, 0]], constant_values=zero_point)


def _offsets(activations, weights, summed_axes, bias):
    """Return what the sums of integers lack: the bias less the zero point times the weights.

    That spares a pass over the activations, which would subtract the zero point.
    """
    weight_sums = tf.reduce_sum(tf.cast(weights.values, tf.int64), summed_axes)
    offsets = -tf.cast(activations.grid.zero_point, tf.int64) * weight_sums
    return offsets if bias is None else offsets + tf.cast(bias.values, tf.int64)


def _convolved(operation, sums, offsets, operands, grid, kernels, vectorized=None):
    """Bring the sums of a convolution to the output's grid.

    Where XNNPACK leaves it to the built-in kernel, ``vectorized`` says which channels that computes
    with vector instructions.
    """
    activations, weights = operands
    real = rq.ratio(rq.product_in_float64(activations.grid.scale, weights.grid.scale), grid.scale)
    if activations.grid.dtype == "INT16":
        values = _once_rounded(sums, offsets, real)
    elif kernels == "reference":
        values = _twice_rounded(sums, offsets, real)
    elif vectorized is not None:
        values = _twice_rounded(sums, offsets, real, vectorized)
    else:
        return _by_xnnpack(operation, sums, offsets, operands, grid)
    return _clamped(operation, values, grid, "reference")


def _in_eights(channels):
    """Return which channels a built-in kernel computes eight at a time; the rest is one by one."""
    return tf.range(channels) < channels // 8 * 8


def _by_xnnpack(operation, sums, offsets, operands, grid):
    """Bring sums to the output's grid as XNNPACK does."""
    scales = (each.grid.scale for each in operands)
    multiplier = tf.cast(rq.factor_in_float32(grid.scale, *scales), tf.float32)
    values = tf.round(_float32_sums(sums, offsets) * multiplier)
    return _clamped(operation, values, grid, "xnnpack")


def _twice_rounded(sums, offsets, real, vectorized=False):
    """Multiply sums and offsets in fixed point."""
    return rq.multiply_fixed_point(
        _whole_sums(sums, offsets, tf.int32), *rq.fixed_point_multiplier(real), vectorized
    )


def _once_rounded(sums, offsets, real):
    """Multiply 16-bit sums and offsets in fixed point, with 15 bits of the multiplier."""
    return rq.multiply_16_bit(
        _whole_sums(sums, offsets, tf.int64), *rq.fixed_point_multiplier(real)
    )


def _in_double(sums, offsets, real):
    """Multiply sums and offsets in float64, and round halves away from zero."""
    return rq.round_half_away(tf.cast(_whole_sums(sums, offsets, tf.int64), tf.float64) * real)


def _clamped(operation, values, grid, kernels):
    """Clamp to what the type and the fused activation allow, if the operation has one."""
    activation = operation.options.get("fused_activation_function", "NONE")
    return rq.clamped(values, activation, grid, kernels)


def _whole_sums(sums, offsets, dtype):
    """Add the offsets in integers."""
    whole = tf.cast(sums, dtype)
    return whole if offsets is None else whole + tf.cast(offsets, dtype)


def _float32_sums(sums, offsets):
    """Return sums and offsets rounded once to float32, as a kernel converts its 32-bit sum."""
    if offsets is not None:
        fits = tf.reduce_all(tf.abs(tf.cast(offsets, tf.int64)) <= _EXACT_IN_FLOAT32)
        sums = tf.cond(
            fits,
            lambda: tf.nn.bias_add(sums, tf.cast(offsets, tf.float32)),
            lambda: tf.cast(tf.cast(sums, tf.float64) + tf.cast(offsets, tf.float64), tf.float32),
        )
    # Without an operation in between, TensorFlow multiplies constant weights instead of the sums.
    return tf.raw_ops.EnsureShape(input=sums, shape=sums.shape)


LINEAR = {
    "BATCH_MATMUL": batch_matmul,
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "FULLY_CONNECTED": fully_connected,
    "TRANSPOSE_CONV": transpose_conv,
}
MICRO_LINEAR = {"FULLY_CONNECTED": fully_connected_in_fixed_point}
