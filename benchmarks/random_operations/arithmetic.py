"""Random files of operations that compute: sums of products, and value by value."""

import functools

import numpy as np

from random_operations.files import (
    Port,
    Sample,
    activations,
    bias,
    fused,
    output,
    scale,
    weights,
)
from tfcompress.compat.litert_schema import schema


def conv_2d(random, dtype="INT8", weight_dtype="INT8"):
    """Return a convolution of a random size, stride, padding and dilation, some in groups."""
    kernel_size, channels = random.integers(1, 5, 2), random.integers((1, 1), (20, 9))
    groups = int(random.integers(1, 4)) if random.random() < 0.2 else 1
    shape = (4, *random.integers(10, 15, 2), int(channels[0]) * groups)
    taken = activations(random, shape, dtype)
    per_channel = random.random() < 0.8
    shape = (int(channels[1]) * groups, *kernel_size, int(channels[0]))
    kernel = weights(random, shape, 0 if per_channel else None, weight_dtype)
    options = _window(schema.Conv2DOptionsT(), random)
    options.dilationHFactor, options.dilationWFactor = _dilations(random)
    options.fusedActivationFunction = fused(random)
    return _linear(random, "CONV_2D", options, taken, kernel, kernel.shape[0], kernel_size)


def depthwise_conv_2d(random, dtype="INT8", weight_dtype="INT8"):
    """Return a depthwise convolution with a depth multiplier of 1 to 3."""
    kernel_size, multiplier = random.integers(1, 5, 2), int(random.integers(1, 4))
    channels = int(random.integers(1, 20))
    taken = activations(random, (4, *random.integers(10, 15, 2), channels), dtype)
    per_channel = random.random() < 0.8
    shape = (1, *kernel_size, channels * multiplier)
    kernel = weights(random, shape, 3 if per_channel else None, weight_dtype)
    options = _window(schema.DepthwiseConv2DOptionsT(), random)
    options.depthMultiplier = multiplier
    options.dilationHFactor, options.dilationWFactor = _dilations(random)
    options.fusedActivationFunction = fused(random)
    return _linear(random, "DEPTHWISE_CONV_2D", options, taken, kernel, shape[3], kernel_size)


def fully_connected(random, dtype="INT8", weight_dtype="INT8", scales_per_channel=0.5):
    """Return a fully connected layer on two or three dimensions."""
    size, units = int(random.integers(1, 200)), int(random.integers(1, 20))
    leading = (32,) if random.random() < 0.5 else (16, 3)
    taken = activations(random, (*leading, size), dtype)
    per_channel = random.random() < scales_per_channel
    kernel = weights(random, (units, size), 0 if per_channel else None, weight_dtype)
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = bool(random.random() < 0.5)
    options.fusedActivationFunction = fused(random)
    shape = (*leading, units) if options.keepNumDims else (int(np.prod(leading)), units)
    spread = _spread(taken, kernel, size)
    inputs = [taken, kernel, bias(random, taken, kernel, units, spread)]
    if random.random() < 0.3:
        inputs[2] = None
    version = {"INT2": 14, "INT4": 10, "INT8": 4}[weight_dtype]
    if dtype == "INT16":
        version = 11 if weight_dtype == "INT8" else 13
    outputs = [output(random, shape, spread, dtype)]
    return Sample("FULLY_CONNECTED", options, inputs, outputs, version)


def transpose_conv(random, dtype="INT8", weight_dtype="INT8"):
    """Return a transposed convolution, with a bias or without."""
    kernel_size = random.integers(1, 5, 2)
    channels = random.integers(1, 9), random.integers(1, 40)
    size = random.integers(4, 9, 2)
    taken = activations(random, (4, *size, channels[0]), dtype)
    per_channel = random.random() < 0.8
    shape = (channels[1], *kernel_size, channels[0])
    kernel = weights(random, shape, 0 if per_channel else None, weight_dtype)
    options = _window(schema.TransposeConvOptionsT(), random)
    strides = np.array([options.strideH, options.strideW])
    options.fusedActivationFunction = fused(random) if random.random() < 0.5 else 0
    wide = size * strides
    if options.padding == schema.Padding.VALID:
        wide = (size - 1) * strides + kernel_size + random.integers(0, strides)
    shape = (4, *wide, channels[1])
    spread = _spread(taken, kernel, kernel_size.prod() * channels[0] / strides.prod())
    target = Port("INT32", (4,), value=np.array(shape, "i4"), constant=True)
    inputs = [target, kernel, taken]
    if random.random() < 0.8:
        inputs.append(bias(random, taken, kernel, int(channels[1]), spread))
    version = 4 if options.fusedActivationFunction else 3
    return Sample(
        "TRANSPOSE_CONV", options, inputs, [output(random, shape, spread, dtype)], version
    )


def batch_matmul(random, dtype="INT8", constant=False):
    """Return a product of matrices of two, three or four dimensions."""
    rows, size, columns = (int(each) for each in random.integers(1, 40, 3))
    leading = [(), (8,), (4, 3)][random.integers(3)]
    options = schema.BatchMatMulOptionsT()
    options.adjX, options.adjY = bool(random.random() < 0.3), bool(random.random() < 0.5)
    first = (size, rows) if options.adjX else (rows, size)
    second = (columns, size) if options.adjY else (size, columns)
    first = activations(random, (*leading, *first), dtype)
    other = leading if random.random() < 0.5 else leading[1:] if leading[1:] else ()
    if constant:
        second = weights(random, second, None, "INT8")
    else:
        second = activations(random, (*other, *second), dtype)
    spread = _spread(first, second, size)
    outputs = [output(random, (*leading, rows, columns), spread, dtype)]
    return Sample("BATCH_MATMUL", options, [first, second], outputs, 4 if dtype == "INT16" else 3)


def binary(random, name, dtype="INT8", far=False):
    """Return ADD, SUB or MUL of tensors that broadcast; with `far`, of scales far apart."""
    shape = (8, *random.integers(1, 12, 2), int(random.integers(1, 20)))
    other = _broadcast(random, shape)
    near = (-14.0, 2.0) if far else (-7.0, -3.0)
    first = activations(random, shape, dtype, scale(random, *near))
    second = activations(random, other, dtype, scale(random, *near))
    if random.random() < 0.3:
        second.constant = True
    inputs = [first, second]
    if random.random() < 0.5:
        inputs.reverse()
    options = getattr(schema, f"{name.title()}OptionsT")()
    options.fusedActivationFunction = fused(random)
    if name != "MUL":
        options.potScaleInt16 = False
    half = 128.0 if dtype == "INT8" else 32768.0
    reach = half * first.scales, half * second.scales
    spread = reach[0] * reach[1] if name == "MUL" else max(reach)
    result = output(random, shape, spread, dtype)
    if far:
        result.scales *= np.float32(2.0 ** random.uniform(-10, 10))
        if name == "ADD":  # the built-in kernel overflows with a result 2**8 times as fine
            result.scales = max(result.scales, max(first.scales, second.scales) / np.float32(250))
    version = {"ADD": 4, "SUB": 5, "MUL": 4}[name] if dtype == "INT16" else 2
    return Sample(name, options, inputs, [result], version)


def times_a_number(random):
    """Return a MUL by one number, as exports quantize it: many products are halves, or almost."""
    first = activations(random, (8, *random.integers(1, 12, 2), int(random.integers(1, 20))))
    number = random.integers(1, 16) / 2.0 ** random.integers(1, 5)
    second = Port("INT8", (), np.float32(number / 255), -128, value=np.array(127), constant=True)
    result = output(random, first.shape, 1.0)
    result.scales = np.float32(first.scales * 2.0 ** random.integers(-1, 2))
    options = schema.MulOptionsT()
    options.fusedActivationFunction = fused(random)
    return Sample("MUL", options, [first, second], [result], 2)


def requantize(random, dtype="INT8", to="INT8"):
    """Return QUANTIZE of integers to another grid."""
    shape = (8, *random.integers(1, 12, 3))
    taken = activations(random, shape, dtype)
    half = 128.0 if dtype == "INT8" else 32768.0
    result = output(random, shape, half * taken.scales, to)
    if random.random() < 0.1:
        result.scales = taken.scales
    return Sample("QUANTIZE", schema.QuantizeOptionsT(), [taken], [result], 3)


def quantize(random, to="INT8"):
    """Return QUANTIZE of real numbers, a third of them halfway between two integers."""
    shape = (8, *random.integers(1, 12, 3))
    result = output(random, shape, 2.0 ** random.uniform(-4, 4), to)
    highest = 127 if to == "INT8" else 32767
    steps = random.uniform(-1.2, 1.2, shape) * highest
    steps = np.where(random.random(shape) < 0.3, np.floor(steps) + 0.5, steps)
    value = (steps * np.float64(result.scales)).astype("f4")
    return Sample(
        "QUANTIZE", schema.QuantizeOptionsT(), [Port("FLOAT32", shape, value=value)], [result], 3
    )


def dequantize(random, dtype="INT8"):
    """Return DEQUANTIZE."""
    shape = (8, *random.integers(1, 12, 3))
    taken = activations(random, shape, dtype)
    result = Port("FLOAT32", shape)
    return Sample("DEQUANTIZE", schema.DequantizeOptionsT(), [taken], [result], 3)


def _window(options, random):
    options.padding = int(random.integers(2))
    options.strideH, options.strideW = (int(each) for each in random.integers(1, 4, 2))
    if random.random() < 0.5:
        options.strideW = options.strideH
    return options


def _dilations(random):
    return (1, 1) if random.random() < 0.6 else tuple(int(n) for n in random.integers(1, 4, 2))


def _broadcast(random, shape):
    """Return the shape or one that broadcasts to it."""
    if random.random() < 0.4:
        return shape
    kept = [size if random.random() < 0.5 else 1 for size in shape]
    return tuple(kept[random.integers(4) :])


def _spread(taken, kernel, count):
    """Return about two standard deviations of a sum of products."""
    values = (taken.value - taken.zero_point) * np.float64(taken.scales)
    deviation = np.sqrt((values**2).mean() * np.square(np.float64(kernel.value)).mean() * count)
    # Weights may all be zeros. XNNPACK refuses products 256 times as coarse as the output.
    return max(2 * deviation, 64 * float(taken.scales)) * float(np.median(kernel.scales))


def _linear(random, name, options, taken, kernel, channels, kernel_size):
    """Return a convolution's sample."""
    _, height, width, _ = taken.shape
    sizes = []
    for size, kernel_length, stride, dilation in zip(
        (height, width),
        kernel_size,
        (options.strideH, options.strideW),
        (options.dilationHFactor, options.dilationWFactor),
        strict=True,
    ):
        reach = 0 if options.padding == schema.Padding.SAME else (kernel_length - 1) * dilation
        sizes.append(max(-(-(size - reach) // stride), 0))
    shape = (taken.shape[0], *(int(size) for size in sizes), channels)
    products = kernel_size.prod() * (kernel.shape[3] if name == "CONV_2D" else 1)
    spread = _spread(taken, kernel, products)
    inputs = [taken, kernel, bias(random, taken, kernel, channels, spread)]
    version = {"INT4": 7, "INT8": 3}[kernel.dtype]
    if taken.dtype == "INT16":
        version = {"CONV_2D": 4, "DEPTHWISE_CONV_2D": 5}[name]
    return Sample(name, options, inputs, [output(random, shape, spread, taken.dtype)], version)


GENERATORS = {
    "CONV_2D int8": conv_2d,
    "CONV_2D int8 x int4": functools.partial(conv_2d, weight_dtype="INT4"),
    "CONV_2D int16": functools.partial(conv_2d, dtype="INT16"),
    "DEPTHWISE_CONV_2D int8": depthwise_conv_2d,
    "DEPTHWISE_CONV_2D int8 x int4": functools.partial(depthwise_conv_2d, weight_dtype="INT4"),
    "DEPTHWISE_CONV_2D int16": functools.partial(depthwise_conv_2d, dtype="INT16"),
    "FULLY_CONNECTED int8": fully_connected,
    "FULLY_CONNECTED int8 x int4": functools.partial(fully_connected, weight_dtype="INT4"),
    "FULLY_CONNECTED int8 x int4, one scale": functools.partial(
        fully_connected, weight_dtype="INT4", scales_per_channel=0
    ),
    "FULLY_CONNECTED int8 x int2": functools.partial(fully_connected, weight_dtype="INT2"),
    "FULLY_CONNECTED int16": functools.partial(fully_connected, dtype="INT16"),
    "FULLY_CONNECTED int16 x int4": functools.partial(
        fully_connected, dtype="INT16", weight_dtype="INT4"
    ),
    "TRANSPOSE_CONV int8": transpose_conv,
    "TRANSPOSE_CONV int16": functools.partial(transpose_conv, dtype="INT16"),
    "BATCH_MATMUL int8": batch_matmul,
    "BATCH_MATMUL int8 constant": functools.partial(batch_matmul, constant=True),
    "BATCH_MATMUL int16": functools.partial(batch_matmul, dtype="INT16"),
    "BATCH_MATMUL int16 constant int8": functools.partial(
        batch_matmul, dtype="INT16", constant=True
    ),
    "ADD int8": functools.partial(binary, name="ADD"),
    "ADD int8 far": functools.partial(binary, name="ADD", far=True),
    "ADD int16": functools.partial(binary, name="ADD", dtype="INT16"),
    "SUB int8": functools.partial(binary, name="SUB"),
    "SUB int8 far": functools.partial(binary, name="SUB", far=True),
    "SUB int16": functools.partial(binary, name="SUB", dtype="INT16"),
    "MUL int8": functools.partial(binary, name="MUL"),
    "MUL int8 by a number": times_a_number,
    "MUL int8 far": functools.partial(binary, name="MUL", far=True),
    "MUL int16": functools.partial(binary, name="MUL", dtype="INT16"),
    "QUANTIZE float to int8": quantize,
    "QUANTIZE float to int16": functools.partial(quantize, to="INT16"),
    "QUANTIZE int8 to int8": requantize,
    "QUANTIZE int16 to int8": functools.partial(requantize, dtype="INT16"),
    "QUANTIZE int16 to int16": functools.partial(requantize, dtype="INT16", to="INT16"),
    "DEQUANTIZE int8": dequantize,
    "DEQUANTIZE int16": functools.partial(dequantize, dtype="INT16"),
}
