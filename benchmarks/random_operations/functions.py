"""Random files of activations, reductions and pools."""

import functools

import numpy as np

from random_operations.files import Port, Sample, activations, fused, output, scale, weights
from tfcompress.compat.litert_schema import schema


def constant(value, dtype="INT32"):
    """Return a constant tensor of indices."""
    value = np.asarray(value)
    return Port(dtype, value.shape, value=value, constant=True)


def shape_of(random, rank=None, most=7):
    """Return a random shape."""
    rank = int(random.integers(1, 5)) if rank is None else rank
    return tuple(int(size) for size in random.integers(1, most + 1, rank))


def taken(random, shape, dtype="INT8", reach=None):
    """Return a fed tensor, with a scale that reaches about `reach`."""
    if reach is None:
        return activations(random, shape, dtype)
    highest = {"INT8": 127, "INT16": 32767}[dtype]
    scales = np.float32(reach / highest * 2.0 ** random.uniform(-2, 2))
    return activations(random, shape, dtype, scales)


def fixed(dtype, shape, scales, zero_point):
    """Return an output whose grid the operation prescribes."""
    return Port(dtype, shape, np.float32(scales), zero_point)


def with_ties(random, value):
    """Return an output's scale for which many results lie in the middle of two integers."""
    return np.float32(value.scales * random.choice([0.5, 1.0, 2.0, 4.0, 2 / 3]))


def unary(random, name, dtype="INT8", options=None, reach=4.0, out=4.0, version=1, grid=None):
    """Return an operation of one tensor."""
    shape = (64, 9)
    value = taken(random, shape, dtype, reach)
    result = output(random, shape, out, dtype) if grid is None else fixed(dtype, shape, *grid)
    if grid is None and random.random() < 0.3:
        result.scales = with_ties(random, value)
    if grid is not None and dtype == "INT16" and random.random() < 0.3:
        value.scales = np.float32(random.choice([2.0**-12, 2.0**-11]))
    return Sample(name, None if options is None else options(random), [value], [result], version)


def positive(random, name, dtype="INT8", out=4.0, version=2):
    """Return an operation of one tensor of positive numbers."""
    value = taken(random, (64, 9), dtype, 4.0)
    value.zero_point = -128 if dtype == "INT8" else 0
    if dtype == "INT16":
        value.value = np.abs(value.value.astype(int)).clip(0, 32767)
    return Sample(name, None, [value], [output(random, (64, 9), out, dtype)], version)


def softmax(random, dtype="INT8", beta=None):
    """Return a softmax along a last dimension of 1 to 300."""
    shape = (32, int(random.integers(1, 12 if random.random() < 0.7 else 300)))
    options = schema.SoftmaxOptionsT()
    options.beta = float(random.choice([1.0, 1.0, 0.5])) if beta is None else beta
    grid = (1 / 256, -128) if dtype == "INT8" else (1 / 32768, 0)
    value = taken(random, shape, dtype, 8.0)
    return Sample("SOFTMAX", options, [value], [fixed(dtype, shape, *grid)], 2)


def log_softmax(random):
    """Return a log-softmax."""
    shape = (32, int(random.integers(1, 12)))
    value = taken(random, shape, "INT8", 8.0)
    return Sample("LOG_SOFTMAX", None, [value], [fixed("INT8", shape, 16 / 256, 127)], 2)


def leaky(random):
    """Return options of a leaky ReLU."""
    options = schema.LeakyReluOptionsT()
    options.alpha = float(np.float32(random.choice([random.uniform(0, 1), 0.2, 0.01, 1.5])))
    return options


def gelu(random):
    """Return options of a GELU."""
    options = schema.GeluOptionsT()
    options.approximate = bool(random.random() < 0.5)
    return options


def prelu(random):
    """Return a PReLU with a slope per channel or per value."""
    shape = (16, *shape_of(random, 3))
    alpha = weights(random, (1, 1, shape[3]) if random.random() < 0.7 else shape[1:])
    alpha.scales = scale(random, -9, -6)
    if random.random() < 0.3:
        alpha.zero_point = int(random.integers(-100, 100))
    value = taken(random, shape)
    spread = 127 * float(value.scales)
    result = output(random, shape, spread)
    if random.random() < 0.3:
        result.scales = with_ties(random, value)
        alpha.scales = np.float32(2.0 ** random.integers(-9, -5))
    return Sample("PRELU", None, [value, alpha], [result])


def pool(random, name, dtype="INT8", same=True):
    """Return a pool with one grid on both sides, as files have it."""
    shape = (8, *(int(size) for size in random.integers(4, 12, 2)), int(random.integers(1, 18)))
    options = schema.Pool2DOptionsT()
    options.padding = int(random.integers(0, 2))
    options.strideH, options.strideW = (int(size) for size in random.integers(1, 4, 2))
    options.filterHeight, options.filterWidth = (int(size) for size in random.integers(1, 5, 2))
    options.fusedActivationFunction = fused(random)
    value = taken(random, shape, dtype)
    if random.random() < 0.3:  # 6.0 and 1.0 lie in the middle of two integers
        value.scales = np.float32(6.0 / (np.floor(6.0 / value.scales) + 0.5))
    sizes = [
        -(-size // stride) if options.padding == 0 else (size - window) // stride + 1
        for size, window, stride in zip(
            shape[1:3],
            (options.filterHeight, options.filterWidth),
            (options.strideH, options.strideW),
            strict=True,
        )
    ]
    result = fixed(dtype, (8, *sizes, shape[3]), value.scales, value.zero_point)
    return Sample(name, options, [value], [result], 2 if dtype == "INT8" else 3)


def reduction(random, name, dtype="INT8", same_grid=False, four=False, version=2):
    """Return a reduction over random axes, or over height and width."""
    shape = (
        (8, *shape_of(random, 3)) if four else (16, *shape_of(random, int(random.integers(1, 4))))
    )
    options = schema.ReducerOptionsT()
    options.keepDims = bool(four or random.random() < 0.5)
    axes = (
        [1, 2]
        if four
        else sorted(random.permutation(range(1, len(shape)))[: random.integers(1, len(shape))])
    )
    result = [
        1 if axis in axes else size
        for axis, size in enumerate(shape)
        if options.keepDims or axis not in axes
    ]
    value = taken(random, shape, dtype)
    count = int(np.prod([shape[axis] for axis in axes]))
    spread = {"SUM": count**0.5 * 60}.get(name, 60) * float(value.scales)
    if dtype == "INT16":
        spread *= 256
    if name == "REDUCE_PROD":
        value = taken(random, shape, dtype, 2.0)
        spread = 2.0
    out = output(random, tuple(result), spread, dtype)
    if random.random() < 0.4 and name != "REDUCE_PROD":
        out.scales = with_ties(random, value)
    if same_grid:
        out = fixed(dtype, tuple(result), value.scales, value.zero_point)
    return Sample(name, options, [value, constant([int(axis) for axis in axes])], [out], version)


def resize(random, name, dtype="INT8"):
    """Return a resize with one grid on both sides."""
    shape = (4, *(int(size) for size in random.integers(2, 9, 2)), int(random.integers(1, 18)))
    size = [int(entry) for entry in random.integers(2, 17, 2)]
    bilinear = name == "RESIZE_BILINEAR"
    options = (
        schema.ResizeBilinearOptionsT if bilinear else schema.ResizeNearestNeighborOptionsT
    )()
    mode = random.random()
    options.alignCorners, options.halfPixelCenters = bool(mode < 0.3), bool(mode > 0.5)
    value = taken(random, shape, dtype)
    result = fixed(dtype, (4, *size, shape[3]), value.scales, value.zero_point)
    return Sample(name, options, [value, constant(size)], [result], 3 if dtype == "INT8" else 4)


def l2_normalization(random):
    """Return an L2 normalization."""
    shape = (32, int(random.integers(1, 40)))
    value = taken(random, shape)
    options = schema.L2NormOptionsT()
    return Sample("L2_NORMALIZATION", options, [value], [fixed("INT8", shape, 1 / 128, 0)], 2)


def two(random, name, dtype="INT8", options=None, spread=4.0, version=2):
    """Return an operation of two tensors, one of them broadcast in half of the cases."""
    shape = (16, *shape_of(random, 2))
    first = taken(random, shape, dtype, 2.0)
    second = taken(random, shape if random.random() < 0.5 else shape[-1:], dtype, 2.0)
    if name == "DIV":
        second.zero_point = 0
        second.value = np.where(second.value == 0, 1, second.value)
    if options is not None:
        options = options()
        options.fusedActivationFunction = fused(random)
    return Sample(name, options, [first, second], [output(random, shape, spread, dtype)], version)


def relu(random, name, dtype="INT8", same=False):
    """Return a ReLU, with one grid or two."""
    value = taken(random, (64, 9), dtype, 4.0)
    result = output(random, (64, 9), 4.0, dtype)
    if random.random() < 0.3:
        result.scales = with_ties(random, value)
    if same:
        result = fixed(dtype, (64, 9), value.scales, value.zero_point)
    version = 1 if "TO_1" in name else 2
    return Sample(name, None, [value], [result], version)


def both(name, generator, *types, **fields):
    """Return table entries for several types."""
    return {
        f"{name} {dtype}": functools.partial(generator, dtype=dtype, **fields) for dtype in types
    }


def unaries(*names, types=("INT8",), generator=unary, **fields):
    """Return table entries of operations of one tensor."""
    return {
        f"{name} {dtype}": functools.partial(generator, name=name, dtype=dtype, **fields)
        for name in names
        for dtype in types
    }


BOTH = ("INT8", "INT16")
GENERATORS = {
    **unaries("LOGISTIC", grid=(1 / 256, -128)),
    **unaries("LOGISTIC", types=("INT16",), grid=(1 / 32768, 0)),
    **unaries("TANH", grid=(1 / 128, 0)),
    **unaries("TANH", types=("INT16",), grid=(1 / 32768, 0)),
    **unaries("HARD_SWISH", "ELU"),
    **unaries("ABS", "EXP", types=BOTH),
    **unaries("NEG", types=BOTH),
    **unaries("GELU", options=gelu),
    **unaries("LEAKY_RELU", types=BOTH, options=leaky),
    **unaries("RSQRT", "LOG", types=BOTH, generator=positive),
    **unaries("SQRT", types=BOTH, generator=positive, version=1),
    **unaries("GELU", types=["INT16"], options=gelu),
    **both("SOFTMAX", softmax, *BOTH),
    "LOG_SOFTMAX INT8": log_softmax,
    "PRELU INT8": prelu,
    "L2_NORMALIZATION INT8": l2_normalization,
    **unaries("AVERAGE_POOL_2D", "MAX_POOL_2D", types=BOTH, generator=pool),
    **unaries("MEAN", "SUM", "REDUCE_PROD", types=BOTH, generator=reduction),
    **unaries("REDUCE_MAX", "REDUCE_MIN", types=BOTH, generator=reduction, same_grid=True),
    "MEAN 4D INT8": functools.partial(reduction, name="MEAN", four=True),
    "MEAN 4D INT16": functools.partial(reduction, name="MEAN", four=True, dtype="INT16"),
    "MEAN 4D same INT8": functools.partial(reduction, name="MEAN", four=True, same_grid=True),
    **unaries("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", types=BOTH, generator=resize),
    **unaries("SQUARED_DIFFERENCE", generator=two),
    **unaries("DIV", types=BOTH, generator=two, options=schema.DivOptionsT),
    **unaries("RELU", "RELU6", types=BOTH, generator=relu),
    **unaries("RELU_N1_TO_1", "RELU_0_TO_1", generator=relu),
    "RELU same INT8": functools.partial(relu, name="RELU", same=True),
    "RELU6 same INT8": functools.partial(relu, name="RELU6", same=True),
}
