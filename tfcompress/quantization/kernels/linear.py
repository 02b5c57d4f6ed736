"""The integer kernels that sum products: convolutions, fully connected layers, matrix products.

A kernel is a function ``kernel(operation, inputs, grids, kernels)`` as in ``registry.py``.

With 8-bit activations the products are summed in float32. That is exact, in any order, while no
partial sum reaches 2**24, which takes more than 1,024 products of the largest magnitude, or many
thousands of trained weights. Beyond, a sum may be rounded by one part in 2**24, which moves an
output by one if it lies that close to a half. With 16-bit activations sums soon exceed 2**24 and
are computed in float64, which holds them up to 2**53.

The set "xnnpack" is what LiteRT 2.3 runs by default on x86-64: XNNPACK, and where that takes no
part, the built-in kernels with vector instructions. Those compute convolutions with 4-bit weights,
fully connected layers with 4-bit weights and an odd number of inputs, or with 2-bit weights and one
scale or no multiple of 4 inputs, transposed convolutions whose
strides leave gaps, and everything in 16 bits. The reference kernels fix the output of fully
connected layers in float64, as does the other set in 16 bits; TFLite Micro does in fixed point.
XNNPACK refuses a file in which input scale * weight scale reaches 256 times the output scale.
"""

import tensorflow as tf

from tfcompress.quantization.kernels import convolutions, structural
from tfcompress.quantization.kernels import requantization as rq
from tfcompress.quantization.kernels.grids import Grid, less_zero_point

_EXACT_IN_FLOAT32 = 1 << 24


def conv_2d(operation, inputs, grids, kernels):
    """Compute CONV_2D: activations NHWC, weights OHWI, a bias or none."""
    activations, weights, bias = (*inputs, None)[:3]
    sums = _windowed_sums(convolutions.convolution_2d, operation, activations, weights)
    offsets = _offsets(activations, weights, (1, 2, 3), bias)
    # XNNPACK convolves with no 4-bit weights; convolutions in groups have no vectorized kernel.
    groups = activations.values.shape[-1] // weights.values.shape[-1]
    vectorized = groups == 1 if weights.grid.dtype == "INT4" else None
    return [_convolved(operation, sums, offsets, inputs[:2], grids[0], kernels, vectorized)]


def depthwise_conv_2d(operation, inputs, grids, kernels):
    """Compute DEPTHWISE_CONV_2D: activations NHWC, weights (1, height, width, channels)."""
    activations, weights, bias = (*inputs, None)[:3]
    sums = _windowed_sums(convolutions.depthwise_convolution_2d, operation, activations, weights)
    offsets = _offsets(activations, weights, (0, 1, 2), bias)
    vectorized = _in_eights(weights.values.shape[-1]) if weights.grid.dtype == "INT4" else None
    return [_convolved(operation, sums, offsets, inputs[:2], grids[0], kernels, vectorized)]


def transpose_conv(operation, inputs, grids, kernels):
    """Compute TRANSPOSE_CONV: the output's shape, weights OHWI, activations NHWC, maybe a bias."""
    size, weights, activations, bias = (*inputs, None)[:4]
    summed = _sum_type(activations)
    sums = convolutions.transposed_convolution_2d(
        tf.cast(less_zero_point(activations), summed),
        tf.cast(weights.values, summed),
        structural.static(size, operation, "output shape"),
        operation.options,
    )
    channels, *kernel_size, _ = weights.values.shape
    # XNNPACK takes no kernel that leaves gaps with SAME padding.
    strides = operation.options["stride_h"], operation.options["stride_w"]
    gaps = any(size < stride for size, stride in zip(kernel_size, strides, strict=True))
    vectorized = _in_eights(channels) if gaps and operation.options["padding"] == "SAME" else None
    offsets = None if bias is None else bias.values
    operands = activations, weights
    return [_convolved(operation, sums, offsets, operands, grids[0], kernels, vectorized)]


def fully_connected(operation, inputs, grids, kernels):
    """Compute FULLY_CONNECTED: activations (..., in), weights (out, in), a bias or none."""
    activations, weights, bias = (*inputs, None)[:3]
    sums, offsets = _rows_of_sums(operation, activations, weights, bias)
    wide = activations.grid.dtype == "INT16"
    if kernels == "micro":
        real = _ratio(_product_of_layer(weights), activations, weights, grids[0])
        return [_in_fixed_point(operation, sums, offsets, real, grids[0], once=wide)]
    if kernels == "reference" or (wide and bias is not None):
        real = _ratio(rq.product_in_float64, activations, weights, grids[0])
        whole = tf.cast(_whole_sums(sums, offsets, tf.int64), tf.float64)
        return [_clamped(operation, rq.round_half_away(whole * real), grids[0], "reference")]
    if wide or _left_to_built_in_layer(weights):
        real = _ratio(_product_of_layer(weights), activations, weights, grids[0])
        return [_in_fixed_point(operation, sums, offsets, real, grids[0], vectorized=True)]
    return [_by_xnnpack(operation, sums, offsets, (activations, weights), grids[0])]


def batch_matmul(operation, inputs, grids, kernels):
    """Compute BATCH_MATMUL of two tensors (..., rows, columns), each transposed if asked."""
    first, second = inputs
    grid, summed = grids[0], _sum_type(first)
    operands = (tf.cast(less_zero_point(each), summed) for each in inputs)
    sums = convolutions.matrix_product(operation.options, *operands)
    real = _ratio(rq.product_in_float32, first, second, grid)
    wide = first.grid.dtype == "INT16"

    def built_in():
        return _in_fixed_point(operation, sums, None, real, grid, once=wide)

    if wide or kernels != "xnnpack":
        return [built_in()]

    def by_xnnpack():
        return _by_xnnpack(operation, sums, None, inputs, grid)

    return [rq.chosen(tf.equal(second.grid.zero_point, 0), by_xnnpack, built_in, sums)]


def _sum_type(activations):
    """Return the type in which sums of products are exact."""
    return tf.float64 if activations.grid.dtype == "INT16" else tf.float32


def _windowed_sums(convolve, operation, activations, weights):
    """Return the sums of products of a convolution, surrounded by the zero point."""
    operands = (tf.cast(each.values, _sum_type(activations)) for each in (activations, weights))
    filling = tf.cast(activations.grid.zero_point, _sum_type(activations))
    return convolve(*operands, operation.options, filling)


def _rows_of_sums(operation, activations, weights, bias):
    """Return the sums of products of a fully connected layer, and what they lack."""
    operands = (tf.cast(each.values, _sum_type(activations)) for each in (activations, weights))
    sums = convolutions.rows_times_weights(*operands, operation.options["keep_num_dims"])
    return sums, _offsets(activations, weights, 1, bias)


def _offsets(activations, weights, summed_axes, bias):
    """Return what the sums of integers lack: the bias less the zero point times the weights.

    That spares a pass over the activations, which would subtract the zero point.
    """
    weight_sums = tf.reduce_sum(tf.cast(weights.values, tf.int64), summed_axes)
    offsets = -tf.cast(activations.grid.zero_point, tf.int64) * weight_sums
    return offsets if bias is None else offsets + tf.cast(bias.values, tf.int64)


def _ratio(product, activations, weights, grid):
    """Return the factor from the scale of sums to that of the output."""
    return rq.ratio(product(activations.grid.scale, weights.grid.scale), grid.scale)


def _left_to_built_in_layer(weights):
    """Tell whether XNNPACK takes no part: it wants whole bytes in rows, own scales with 2 bits."""
    (units, size), dtype = weights.values.shape, weights.grid.dtype
    if dtype == "INT2":
        return size % 4 or (units > 1 and not weights.grid.scale.shape.rank)
    return dtype == "INT4" and size % 2


def _product_of_layer(weights):
    """Return how the scales of a fully connected layer are multiplied: one in float32."""
    return rq.product_in_float64 if weights.grid.scale.shape.rank else rq.product_in_float32


def _convolved(operation, sums, offsets, operands, grid, kernels, vectorized=None):
    """Bring the sums of a convolution to the output's grid.

    Where XNNPACK leaves it to the built-in kernel, ``vectorized`` says which channels that computes
    with vector instructions.
    """
    wide = operands[0].grid.dtype == "INT16"
    if not wide and kernels == "xnnpack" and vectorized is None:
        return _by_xnnpack(operation, sums, offsets, operands, grid)
    real = _ratio(rq.product_in_float64, *operands, grid)
    vectorized = False if kernels != "xnnpack" or vectorized is None else vectorized
    return _in_fixed_point(operation, sums, offsets, real, grid, wide, vectorized)


def _in_eights(channels):
    """Return which channels a built-in kernel computes eight at a time; the rest is one by one."""
    return tf.range(channels) < channels // 8 * 8


def _by_xnnpack(operation, sums, offsets, operands, grid):
    """Bring sums to the output's grid as XNNPACK does."""
    scales = (each.grid.scale for each in operands)
    offsets = () if offsets is None else (offsets,)
    tensors = sums, grid.scale, grid.zero_point, *scales, *offsets
    activation = rq.fused_activation(operation)
    values = _rescaled_by_xnnpack(*tensors, activation=activation, dtype=grid.dtype)
    values.set_shape(sums.shape)
    return values


@rq.traced_once
def _rescaled_by_xnnpack(sums, scale, zero_point, *others, activation, dtype):
    """Do what ``_by_xnnpack`` does."""
    first, second, *offsets = others
    multiplier = tf.cast(rq.factor("xnnpack", scale, first, second), tf.float32)
    values = tf.round(_float32_sums(sums, *offsets) * multiplier)
    return rq.clamped(values, activation, Grid(scale, zero_point, dtype), "xnnpack")


def _in_fixed_point(operation, sums, offsets, real, grid, once=False, vectorized=False):
    """Bring sums to the output's grid in fixed point, rounding once with 15 bits, or twice."""
    factor = rq.fixed_point_multiplier(real)
    if once:
        values = rq.multiply_16_bit(_whole_sums(sums, offsets, tf.int64), *factor)
    else:
        whole = _whole_sums(sums, offsets, tf.int32)
        values = rq.multiply_fixed_point(whole, *factor, vectorized)
    return _clamped(operation, values, grid, "reference")


def _clamped(operation, values, grid, kernels):
    """Clamp to what the type and the fused activation allow, if the operation has one."""
    return rq.clamped(values, rq.fused_activation(operation), grid, kernels)


def _whole_sums(sums, offsets, dtype):
    """Add the offsets in integers."""
    whole = tf.cast(sums, dtype)
    return whole if offsets is None else whole + tf.cast(offsets, dtype)


def _float32_sums(sums, offsets=None):
    """Return sums and offsets rounded once to float32, as a kernel converts its 32-bit sum."""
    if offsets is not None:
        fits = tf.reduce_all(tf.abs(tf.cast(offsets, tf.int64)) <= _EXACT_IN_FLOAT32)
        sums = rq.chosen(
            fits,
            lambda: tf.nn.bias_add(sums, tf.cast(offsets, tf.float32)),
            lambda: tf.cast(tf.cast(sums, tf.float64) + tf.cast(offsets, tf.float64), tf.float32),
            sums,
        )
    return rq.in_order(sums)  # or constant weights are multiplied instead


LINEAR = {
    "BATCH_MATMUL": batch_matmul,
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "FULLY_CONNECTED": fully_connected,
    "TRANSPOSE_CONV": transpose_conv,
}
