"""Random files of operations that move, choose and compare integers."""

import functools

import numpy as np

from random_operations.files import Port, Sample
from random_operations.functions import constant, fixed, shape_of, taken
from tfcompress.compat.litert_schema import schema


def like(value, shape):
    """Return an output on the grid of an input."""
    return fixed(value.dtype, tuple(int(size) for size in shape), value.scales, value.zero_point)


def moved(name, value, others=(), options=None, result=None, version=1, front=()):
    """Return an operation on one tensor, of which NumPy knows the result's shape."""
    result = like(value, np.shape(result))
    return Sample(name, options, [*front, value, *others], [result], version)


def axis_of(random, shape, first=1):
    """Return a random axis behind the batch."""
    return int(random.integers(first, len(shape)))


def reshape(random, dtype):
    """Return a reshape of (n, a, b) to (n, a * b), or back."""
    value = taken(random, (4, *shape_of(random, 2)), dtype)
    shape = (4, value.shape[1] * value.shape[2])
    return moved("RESHAPE", value, [constant(shape)], result=np.zeros(shape))


def transpose(random, dtype):
    """Return a transposition."""
    value = taken(random, (4, *shape_of(random, int(random.integers(1, 5)))), dtype)
    order = random.permutation(len(value.shape))
    return moved(
        "TRANSPOSE", value, [constant(order)], result=np.transpose(value.value, order), version=2
    )


def concatenation(random, dtype):
    """Return a concatenation of two or three tensors on one grid."""
    shape = (4, *shape_of(random, 2))
    axis = axis_of(random, shape)
    first = taken(random, shape, dtype)
    others = []
    for _ in range(int(random.integers(1, 3))):
        size = list(shape)
        size[axis] = int(random.integers(1, 6))
        other = taken(random, tuple(size), dtype)
        other.scales, other.zero_point = first.scales, first.zero_point
        others.append(other)
    options = schema.ConcatenationOptionsT()
    options.axis = axis
    result = np.concatenate([first.value, *(other.value for other in others)], axis)
    version = 2 if dtype == "INT8" else 3
    return moved("CONCATENATION", first, others, options, result, version)


def pad(random, dtype, name="PAD"):
    """Return a padding with zeros or with a value."""
    value = taken(random, (4, *shape_of(random, 3)), dtype)
    around = np.concatenate([[[0, 0]], random.integers(0, 3, (3, 2))])
    others = [constant(around)]
    if name == "PADV2":
        filling = like(value, (1,))
        filling.value, filling.constant = random.integers(-128, 128, 1), True
        others.append(filling)
    result = np.pad(value.value, around)
    return moved(name, value, others, result=result, version=2)


def mirror_pad(random, dtype):
    """Return a padding with a mirror image."""
    value = taken(random, (4, *(int(size) for size in random.integers(4, 7, 2))), dtype)
    options = schema.MirrorPadOptionsT()
    options.mode = int(random.integers(0, 2))
    around = np.concatenate([[[0, 0]], random.integers(0, 3, (2, 2))])
    result = np.pad(value.value, around)
    return moved("MIRROR_PAD", value, [constant(around)], options, result, 2)


def slices(random, dtype, name):
    """Return a slice, with strides or without."""
    value = taken(random, (4, *(int(size) for size in random.integers(3, 9, 3))), dtype)
    begin = np.append(0, random.integers(0, 3, 3))
    end = np.append(
        4,
        [
            random.integers(low + 1, size + 1)
            for low, size in zip(begin[1:], value.shape[1:], strict=True)
        ],
    )
    if name == "SLICE":
        places = tuple(slice(low, high) for low, high in zip(begin, end, strict=True))
        others = [constant(begin), constant(end - begin)]
        return moved(name, value, others, result=value.value[places], version=2)
    strides = np.append(1, random.integers(1, 3, 3))
    options = schema.StridedSliceOptionsT()
    options.beginMask, options.endMask = int(random.integers(0, 16)), int(random.integers(0, 16))
    options.shrinkAxisMask = int(random.choice([0, 0, 2, 4, 8]))
    options.beginMask &= ~options.shrinkAxisMask
    places = [
        int(low)
        if options.shrinkAxisMask >> axis & 1
        else slice(
            None if options.beginMask >> axis & 1 else low,
            None if options.endMask >> axis & 1 else high,
            step,
        )
        for axis, (low, high, step) in enumerate(zip(begin, end, strides, strict=True))
    ]
    result = value.value[tuple(places)]
    others = [constant(begin), constant(end), constant(strides)]
    return moved(name, value, others, options, result, 2)


def split(random, dtype):
    """Return a split into equal parts."""
    parts = int(random.integers(1, 4))
    shape = (4, 3 * parts, int(random.integers(1, 6)))
    value = taken(random, shape, dtype)
    options = schema.SplitOptionsT()
    options.numSplits = parts
    outputs = [like(value, (4, 3, shape[2])) for _ in range(parts)]
    return Sample("SPLIT", options, [constant(1), value], outputs, 2 if dtype == "INT8" else 4)


def split_v(random, dtype):
    """Return a split into given parts."""
    sizes = [int(size) for size in random.integers(1, 5, int(random.integers(1, 4)))]
    value = taken(random, (4, 5, sum(sizes)), dtype)
    options = schema.SplitVOptionsT()
    options.numSplits = len(sizes)
    outputs = [like(value, (4, 5, size)) for size in sizes]
    return Sample("SPLIT_V", options, [value, constant(sizes), constant(2)], outputs, 2)


def pack(random, dtype):
    """Return a stack of two tensors."""
    first = taken(random, (4, *shape_of(random, 2)), dtype)
    second = taken(random, first.shape, dtype)
    second.scales, second.zero_point = first.scales, first.zero_point
    options = schema.PackOptionsT()
    options.valuesCount, options.axis = 2, int(random.integers(0, 3))
    result = np.stack([first.value] * 2, options.axis)
    return moved("PACK", first, [second], options, result, 2)


def unpack(random, dtype):
    """Return the entries along an axis."""
    value = taken(random, (4, *shape_of(random, 2)), dtype)
    options = schema.UnpackOptionsT()
    options.axis = int(random.integers(1, 3))
    options.num = value.shape[options.axis]
    shape = [size for axis, size in enumerate(value.shape) if axis != options.axis]
    outputs = [like(value, shape) for _ in range(options.num)]
    return Sample("UNPACK", options, [value], outputs, 2)


def gather(random, dtype):
    """Return entries along an axis."""
    value = taken(random, (4, *shape_of(random, 2)), dtype)
    options = schema.GatherOptionsT()
    options.axis = int(random.integers(0, 3))
    places = random.integers(0, value.shape[options.axis], int(random.integers(1, 6)))
    result = np.take(value.value, places, options.axis)
    version = 2 if dtype == "INT8" else 4
    return moved("GATHER", value, [constant(places)], options, result, version)


def gather_nd(random, dtype):
    """Return entries at full or partial indices."""
    value = taken(random, (4, *shape_of(random, 2)), dtype)
    depth = int(random.integers(1, 4))
    places = np.stack([random.integers(0, size, 5) for size in value.shape[:depth]], -1)
    result = value.value[tuple(places.T)]
    version = 1 if dtype == "INT8" else 3
    return moved("GATHER_ND", value, [constant(places)], result=result, version=version)


def squeeze(random, dtype):
    """Return a tensor without a dimension of 1."""
    value = taken(random, (4, 1, *shape_of(random, 2)), dtype)
    options = schema.SqueezeOptionsT()
    options.squeezeDims = [1]
    return moved("SQUEEZE", value, (), options, np.squeeze(value.value, 1), 1)


def expand_dims(random, dtype):
    """Return a tensor with one more dimension."""
    value = taken(random, (4, *shape_of(random, 2)), dtype)
    axis = int(random.integers(1, 4))
    result = np.expand_dims(value.value, axis)
    return moved("EXPAND_DIMS", value, [constant([axis])], result=result)


def tile(random, dtype):
    """Return repetitions."""
    value = taken(random, (4, *shape_of(random, 2)), dtype)
    times = np.append(1, random.integers(1, 4, 2))
    result = np.tile(value.value, times)
    return moved("TILE", value, [constant(times)], result=result, version=2)


def broadcast_to(random, dtype):
    """Return a tensor repeated along a dimension of 1."""
    value = taken(random, (4, 1, int(random.integers(1, 6))), dtype)
    shape = (4, int(random.integers(1, 6)), value.shape[2])
    version = 2 if dtype == "INT8" else 3
    return moved("BROADCAST_TO", value, [constant(shape)], None, np.zeros(shape), version)


def reverse(random, dtype):
    """Return a tensor reversed along an axis."""
    value = taken(random, (4, *shape_of(random, 2)), dtype)
    others = [constant([int(random.integers(1, 3))])]
    return moved("REVERSE_V2", value, others, result=value.value, version=3)


def blocks(random, dtype, name):
    """Return space to depth or back."""
    options = getattr(
        schema, {"SPACE_TO_DEPTH": "SpaceToDepthOptionsT"}.get(name, "DepthToSpaceOptionsT")
    )()
    options.blockSize = int(random.integers(2, 4))
    size = options.blockSize
    spatial = (4, 2 * size, 3 * size, 5)
    deep = (4, 2, 3, 5 * size**2)
    shapes = (spatial, deep) if name == "SPACE_TO_DEPTH" else (deep, spatial)
    value = taken(random, shapes[0], dtype)
    version = 2 if name == "SPACE_TO_DEPTH" else 1
    return moved(name, value, (), options, np.zeros(shapes[1]), version)


def to_batch(random, dtype, name):
    """Return space to batch, with padding, or back, with cropping."""
    rows, columns = (int(size) for size in random.integers(1, 3, 2))
    around = random.integers(0, 2, (2, 2)) * [[1, 0], [1, 1]]
    high, wide = (int(size) for size in (2 * rows, 3 * columns) - around.sum(1))
    spatial, batches = (2, high, wide, 5), (2 * rows * columns, 2, 3, 5)
    shapes = (spatial, batches) if name == "SPACE_TO_BATCH_ND" else (batches, spatial)
    value = taken(random, shapes[0], dtype)
    others = [constant([rows, columns]), constant(around)]
    return moved(name, value, others, None, np.zeros(shapes[1]), 2 if dtype == "INT8" else 4)


def two(random, dtype, name):
    """Return the larger or smaller of two tensors on one grid."""
    first = taken(random, (4, *shape_of(random, 2)), dtype)
    second = taken(random, first.shape if random.random() < 0.5 else first.shape[-1:], dtype)
    second.scales, second.zero_point = first.scales, first.zero_point
    version = 2 if dtype == "INT8" else 3
    return moved(name, first, [second], None, first.value, version)


def select(random, dtype, name):
    """Return a choice between two tensors on one grid."""
    sample = two(random, dtype, name)
    first, second = sample.inputs
    second.shape, second.value = (
        first.shape,
        random.permutation(first.value.ravel()).reshape(first.shape),
    )
    shape = first.shape if name == "SELECT" or random.random() < 0.5 else first.shape[-1:]
    condition = Port("BOOL", shape, value=random.random(shape) < 0.5)
    sample.inputs.insert(0, condition)
    sample.version = 1
    return sample


def comparison(random, dtype, name):
    """Return a comparison of two tensors, often on two grids."""
    sample = two(random, dtype, name)
    if random.random() < 0.7:
        sample.inputs[1] = taken(random, sample.inputs[1].shape, dtype)
    for value in sample.inputs:
        value.scales = np.minimum(value.scales, np.float32(0.9))  # LiteRT aborts from 1 on
    sample.outputs = [Port("BOOL", sample.inputs[0].shape)]
    sample.version = 3 if dtype == "INT16" and name in ("EQUAL", "NOT_EQUAL") else 2
    return sample


def largest_place(random, dtype, name):
    """Return the places of the largest or smallest values."""
    value = taken(random, (4, *shape_of(random, 2)), dtype)
    axis = int(random.integers(1, 3))
    options = (schema.ArgMaxOptionsT if name == "ARG_MAX" else schema.ArgMinOptionsT)()
    options.outputType = schema.TensorType.INT32
    shape = tuple(size for place, size in enumerate(value.shape) if place != axis)
    return Sample(name, options, [value, constant([axis])], [Port("INT32", shape)], 2)


def top_k(random, dtype):
    """Return the largest values and their places."""
    value = taken(random, (4, int(random.integers(3, 9))), dtype)
    count = int(random.integers(1, 4))
    outputs = [like(value, (4, count)), Port("INT32", (4, count))]
    return Sample("TOPK_V2", None, [value, constant(count)], outputs, 2 if dtype == "INT8" else 3)


def embedding_lookup(random, dtype):
    """Return rows of a constant table."""
    value = taken(random, (7, 5), dtype)
    value.constant = True
    places = Port("INT32", (6,), value=random.integers(0, 7, 6))
    return moved("EMBEDDING_LOOKUP", value, front=[places], result=np.zeros((6, 5)), version=2)


def update_slice(random, dtype):
    """Return a tensor with a block overwritten."""
    value = taken(random, (4, 5, 6), dtype)
    update = taken(random, (4, *(int(size) for size in random.integers(1, 5, 2))), dtype)
    update.scales, update.zero_point = value.scales, value.zero_point
    start = constant(np.append(0, random.integers(-1, 6, 2)))
    return moved("DYNAMIC_UPDATE_SLICE", value, [update, start], None, value.value, 2)


def fill(random, dtype):
    """Return a tensor of one integer."""
    value = taken(random, (), dtype)
    return moved("FILL", value, front=[constant([4, 5])], result=np.zeros((4, 5)), version=3)


def one_hot(random, dtype):
    """Return two integers, one of them at given places."""
    on, off = taken(random, (), dtype), taken(random, (), dtype)
    off.scales, off.zero_point = on.scales, on.zero_point
    places = Port("INT32", (6,), value=random.integers(-1, 6, 6))
    options = schema.OneHotOptionsT()
    options.axis = -1
    return Sample("ONE_HOT", options, [places, constant(5), on, off], [like(on, (6, 5))])


def scatter_nd(random, dtype):
    """Return updates at given places of a tensor of zeros."""
    value = taken(random, (3, 5), dtype)
    places = constant(random.permutation(7)[:3, None])
    others = [constant([7, 5])]
    return moved("SCATTER_ND", value, others, None, np.zeros((7, 5)), front=[places])


def named(generator, *names, types=("INT8", "INT16")):
    """Return table entries of a generator for several names."""
    return {
        f"{name} {dtype}": functools.partial(generator, dtype=dtype, name=name)
        for name in names
        for dtype in types
    }


def plain(types=("INT8", "INT16"), **generators):
    """Return table entries by name."""
    return {
        f"{name} {dtype}": functools.partial(generator, dtype=dtype)
        for name, generator in generators.items()
        for dtype in types
    }


GENERATORS = {
    **plain(
        RESHAPE=reshape,
        TRANSPOSE=transpose,
        CONCATENATION=concatenation,
        PAD=pad,
        MIRROR_PAD=mirror_pad,
        SPLIT=split,
        SPLIT_V=split_v,
        PACK=pack,
        UNPACK=unpack,
        GATHER=gather,
        GATHER_ND=gather_nd,
        SQUEEZE=squeeze,
        EXPAND_DIMS=expand_dims,
        TILE=tile,
        BROADCAST_TO=broadcast_to,
        REVERSE_V2=reverse,
        TOPK_V2=top_k,
        EMBEDDING_LOOKUP=embedding_lookup,
        DYNAMIC_UPDATE_SLICE=update_slice,
    ),
    **plain(FILL=fill),
    **plain(ONE_HOT=one_hot, SCATTER_ND=scatter_nd, types=["INT8"]),
    **named(pad, "PADV2"),
    **named(slices, "SLICE", "STRIDED_SLICE"),
    **named(blocks, "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", types=["INT8"]),
    **named(to_batch, "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"),
    **named(two, "MAXIMUM", "MINIMUM"),
    **named(select, "SELECT", "SELECT_V2"),
    **named(comparison, "EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"),
    **named(largest_place, "ARG_MAX", "ARG_MIN", types=["INT8"]),
}
