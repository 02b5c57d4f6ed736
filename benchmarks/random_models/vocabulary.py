"""What random models are made of: layers, operations of keras.ops, and what joins two tensors.

An entry takes a tensor, or two, and ``pick``, which chooses among options; it returns None where it
does not fit. Layers say the ranks that they take, batch included.
"""

import math

import keras
from keras import layers as kl
from keras import ops

ACTIVATIONS = (
    "relu",
    "relu6",
    "tanh",
    "sigmoid",
    "silu",
    "gelu",
    "elu",
    "selu",
    "softplus",
    "softsign",
    "hard_sigmoid",
    "hard_silu",
    "mish",
    "leaky_relu",
    "exponential",
    "log_softmax",
    "linear",
    "hard_tanh",
    "celu",
    "squareplus",
    "tanh_shrink",
    "log_sigmoid",
    "hard_shrink",
    "soft_shrink",
)
COMMON_ACTIVATIONS = (None, "relu", "relu6", "tanh", "sigmoid", "silu", "gelu")
MOST_STEPS = 4  # of a loop, which is unrolled: a bidirectional GRU of 6 took 16 s
ANY, FLAT, SERIES, IMAGE, VOLUME = (2, 3, 4, 5), (2,), (3,), (4,), (5,)
UP_TO_IMAGE = (2, 3, 4)


def _convolution(kind, transposed=False, causal=False):
    def make(x, pick):
        padding = pick("same", "valid", *(["causal"] if causal else []))
        strides, dilation = pick((1, 1), (2, 1), (1, 2))
        kernel = pick(3, 1, 2)
        if transposed:
            dilation = 1
        if padding == "valid" and not transposed and _smallest(x) < (kernel - 1) * dilation + 1:
            return None
        return getattr(kl, kind)(
            pick(4, 1, 6),
            kernel,
            strides,
            padding,
            dilation_rate=dilation,
            activation=pick(*COMMON_ACTIVATIONS),
            use_bias=pick(True, False),
        )

    return make


def _grouped(x, pick):
    groups = pick(2, 4, 1)
    if x.shape[-1] % groups:
        return None
    return kl.Conv2D(groups * pick(1, 2), 3, padding="same", groups=groups)


def _depthwise(kind):
    def make(x, pick):
        return getattr(kl, kind)(
            pick(3, 1, 2),
            pick(1, 2),
            "same",
            depth_multiplier=pick(1, 2),
            use_bias=pick(True, False),
        )

    return make


def _separable(kind):
    return lambda x, pick: getattr(kl, kind)(
        pick(4, 3), 3, padding="same", depth_multiplier=pick(1, 2), activation=pick(None, "relu")
    )


def _pool(kind):
    def make(x, pick):
        size, padding = pick(2, 3), pick("same", "valid")
        if padding == "valid" and _smallest(x) < size:
            return None
        return getattr(kl, kind)(size, pick(2, 1), padding)

    return make


def _recurrent(kind):
    def make(x, pick):
        if x.shape[1] > MOST_STEPS:
            return None
        return getattr(kl, kind)(
            pick(4, 1, 3), return_sequences=pick(True, False), go_backwards=pick(False, True)
        )

    return make


def _bidirectional(x, pick):
    if x.shape[1] > MOST_STEPS:
        return None
    inner = getattr(kl, pick("LSTM", "GRU", "SimpleRNN"))(3, return_sequences=pick(True, False))
    return kl.Bidirectional(inner, merge_mode=pick("concat", "sum", "mul", "ave"))


def _time_distributed(x, pick):
    kinds = {3: kl.Dense, 4: kl.Conv1D, 5: kl.Conv2D}
    settings = {} if len(x.shape) == 3 else {"kernel_size": 3, "padding": "same"}
    return kl.TimeDistributed(kinds[len(x.shape)](4, **settings))


def _conv_lstm(x, pick):
    if x.shape[1] > MOST_STEPS:
        return None
    return kl.ConvLSTM2D(3, 3, padding="same", return_sequences=pick(True, False))


def _smallest(x):
    return min(x.shape[1:-1])


def _cropping(kind):
    return lambda x, pick: getattr(kl, kind)(1) if _smallest(x) > 2 else None


def _normalization(x, pick):
    channels = x.shape[-1]
    mean = [0.1 * index for index in range(channels)]
    return kl.Normalization(mean=mean, variance=[0.5 + each for each in mean])


def _group_normalization(x, pick):
    groups = pick(1, 2, -1)
    return None if x.shape[-1] % groups else kl.GroupNormalization(groups)


def _reshape(x, pick):
    sizes = x.shape[1:]
    size = math.prod(sizes)
    options = [(size,), (-1, 1), (1, size)]
    if size % 2 == 0:
        options += [(2, size // 2), (size // 2, 2)]
    if size % 4 == 0:
        options += [(2, 2, size // 4), (size // 4, 2, 2)]
    return kl.Reshape(pick(*options))


def _permute(x, pick):
    axes = range(1, len(x.shape))
    return kl.Permute(pick(tuple(reversed(axes)), (*axes[1:], axes[0]), tuple(axes)))


def _einsum_dense(x, pick):
    if len(x.shape) == 2:
        return kl.EinsumDense("ab,bc->ac", pick(4, 3), bias_axes=pick("c", None))
    if len(x.shape) == 3:
        return kl.EinsumDense(
            *pick(
                ("abc,cd->abd", (None, 4), None, "d"),
                ("abc,bd->adc", (3, None), None, None),
                ("abc,cde->abde", (None, 2, 3), None, "de"),
            )
        )
    if len(x.shape) == 4:
        return kl.EinsumDense("abcd,cde->abe", (None, 4), bias_axes="e")
    return None


# The ranks that a layer takes, and how it is made.
LAYERS = {
    "Dense": (
        ANY,
        lambda x, pick: kl.Dense(pick(4, 1, 6), pick(*COMMON_ACTIVATIONS), pick(True, False)),
    ),
    "Activation": (ANY, lambda x, pick: kl.Activation(pick(*ACTIVATIONS))),
    "ReLU": (
        ANY,
        lambda x, pick: kl.ReLU(
            *pick((None,), (6.0,), (1.0,), (None, 0.2), (4.0, 0.1), (None, 0.0, 0.5))
        ),
    ),
    "LeakyReLU": (ANY, lambda x, pick: kl.LeakyReLU(pick(0.1, 0.3))),
    "PReLU": (
        UP_TO_IMAGE,
        lambda x, pick: kl.PReLU(
            "uniform", shared_axes=pick(None, list(range(1, len(x.shape) - 1)) or None)
        ),
    ),
    "Softmax": (ANY, lambda x, pick: kl.Softmax(pick(-1, 1))),
    "BatchNormalization": (
        ANY,
        lambda x, pick: kl.BatchNormalization(scale=pick(True, False), center=pick(True, False)),
    ),
    "LayerNormalization": (ANY, lambda x, pick: kl.LayerNormalization(pick(-1, -1, 1))),
    "RMSNormalization": (ANY, lambda x, pick: kl.RMSNormalization()),
    "UnitNormalization": (ANY, lambda x, pick: kl.UnitNormalization(-1)),
    "GroupNormalization": ((3, 4), _group_normalization),
    "Normalization": (ANY, _normalization),
    "Rescaling": (ANY, lambda x, pick: kl.Rescaling(*pick((0.5,), (2.0, -1.0), (1 / 127.5, -1.0)))),
    "Dropout": (ANY, lambda x, pick: kl.Dropout(0.2)),
    "Flatten": ((3, 4, 5), lambda x, pick: kl.Flatten()),
    "Reshape": (ANY, _reshape),
    "Permute": ((3, 4, 5), _permute),
    "RepeatVector": (FLAT, lambda x, pick: kl.RepeatVector(pick(3, 2))),
    "EinsumDense": (UP_TO_IMAGE, _einsum_dense),
    "Conv1D": (SERIES, _convolution("Conv1D", causal=True)),
    "SeparableConv1D": (SERIES, _separable("SeparableConv1D")),
    "DepthwiseConv1D": (SERIES, _depthwise("DepthwiseConv1D")),
    "Conv1DTranspose": (SERIES, _convolution("Conv1DTranspose", transposed=True)),
    "MaxPooling1D": (SERIES, _pool("MaxPooling1D")),
    "AveragePooling1D": (SERIES, _pool("AveragePooling1D")),
    "GlobalAveragePooling1D": (
        SERIES,
        lambda x, pick: kl.GlobalAveragePooling1D(keepdims=pick(False, True)),
    ),
    "GlobalMaxPooling1D": (SERIES, lambda x, pick: kl.GlobalMaxPooling1D()),
    "UpSampling1D": (SERIES, lambda x, pick: kl.UpSampling1D(2)),
    "ZeroPadding1D": (SERIES, lambda x, pick: kl.ZeroPadding1D(pick(1, (0, 2)))),
    "Cropping1D": (SERIES, _cropping("Cropping1D")),
    "LSTM": (SERIES, _recurrent("LSTM")),
    "GRU": (SERIES, _recurrent("GRU")),
    "SimpleRNN": (SERIES, _recurrent("SimpleRNN")),
    "Bidirectional": (SERIES, _bidirectional),
    "TimeDistributed": ((3, 4, 5), _time_distributed),
    "Conv2D": (IMAGE, _convolution("Conv2D")),
    "grouped Conv2D": (IMAGE, _grouped),
    "DepthwiseConv2D": (IMAGE, _depthwise("DepthwiseConv2D")),
    "SeparableConv2D": (IMAGE, _separable("SeparableConv2D")),
    "Conv2DTranspose": (IMAGE, _convolution("Conv2DTranspose", transposed=True)),
    "MaxPooling2D": (IMAGE, _pool("MaxPooling2D")),
    "AveragePooling2D": (IMAGE, _pool("AveragePooling2D")),
    "GlobalAveragePooling2D": (
        IMAGE,
        lambda x, pick: kl.GlobalAveragePooling2D(keepdims=pick(False, True)),
    ),
    "GlobalMaxPooling2D": (
        IMAGE,
        lambda x, pick: kl.GlobalMaxPooling2D(keepdims=pick(False, True)),
    ),
    "UpSampling2D": (
        IMAGE,
        lambda x, pick: kl.UpSampling2D(2, interpolation=pick("nearest", "bilinear")),
    ),
    "ZeroPadding2D": (IMAGE, lambda x, pick: kl.ZeroPadding2D(pick(1, ((0, 1), (0, 1))))),
    "Cropping2D": (IMAGE, _cropping("Cropping2D")),
    "Resizing": (
        IMAGE,
        lambda x, pick: kl.Resizing(
            *pick((5, 5), (3, 4)), interpolation=pick("bilinear", "nearest")
        ),
    ),
    "Conv3D": (
        VOLUME,
        lambda x, pick: kl.Conv3D(3, pick(3, 1), pick(1, 2), "same", activation=pick(None, "relu")),
    ),
    "MaxPooling3D": (VOLUME, _pool("MaxPooling3D")),
    "AveragePooling3D": (VOLUME, _pool("AveragePooling3D")),
    "GlobalAveragePooling3D": (VOLUME, lambda x, pick: kl.GlobalAveragePooling3D()),
    "UpSampling3D": (VOLUME, lambda x, pick: kl.UpSampling3D(2)),
    "ZeroPadding3D": (VOLUME, lambda x, pick: kl.ZeroPadding3D(1)),
    "Conv3DTranspose": (VOLUME, lambda x, pick: kl.Conv3DTranspose(2, 2, 2)),
    "ConvLSTM2D": (VOLUME, _conv_lstm),
}


def _axis(x, pick):
    return pick(-1, *range(1, len(x.shape)))


def _over(function):
    """Return an entry that reduces one axis or several."""

    def entry(x, pick):
        if len(x.shape) < 3:
            return function(x, axis=-1, keepdims=True)
        axes = (_axis(x, pick), (1, 2), tuple(range(1, len(x.shape) - 1)))
        keepdims = pick(True, False)
        axis = pick(*axes)
        if not keepdims and isinstance(axis, tuple) and len(axis) + 1 == len(x.shape):
            keepdims = True
        return function(x, axis=axis, keepdims=keepdims)

    return entry


def _slice(x, pick):
    axis, kept = _axis(x, pick) % len(x.shape), pick("first", "rest", "every second", "reversed")
    cut = {
        "first": slice(0, max(1, x.shape[axis] // 2)),
        "rest": slice(1 if x.shape[axis] > 1 else 0, None),
        "every second": slice(None, None, 2),
        "reversed": slice(None, None, -1),
    }[kept]
    return x[(*(slice(None) for _ in range(axis)), cut)]


def _one(x, pick):
    """Take one place of an axis, which goes."""
    if len(x.shape) < 3:
        return None
    axis = _axis(x, pick) % len(x.shape)
    return x[(*(slice(None) for _ in range(axis)), pick(0, -1))]


def _split(x, pick):
    axis = _axis(x, pick)
    parts = pick(2, 3)
    if x.shape[axis] % parts:
        return None
    return ops.split(x, parts, axis=axis)[pick(0, 1)]


def _gated_halves(x, pick):
    if x.shape[-1] % 2:
        return None
    left, right = ops.split(x, 2, axis=-1)
    return left * ops.sigmoid(right)


def _pad(x, pick):
    axis = _axis(x, pick) % len(x.shape)
    widths = [(0, 0)] * len(x.shape)
    widths[axis] = pick((1, 0), (1, 1))
    mode = pick("constant", "reflect", "symmetric")
    if mode != "constant" and x.shape[axis] < 3:
        return None
    return ops.pad(x, widths, mode)


def _standardized(x, pick):
    mean, variance = ops.moments(x, axes=[_axis(x, pick)], keepdims=True)
    return (x - mean) / ops.sqrt(variance + pick(1e-3, 1e-5))


def _top(x, pick):
    return ops.top_k(x, k=min(2, x.shape[-1]))[0]


def _take(x, pick):
    axis = _axis(x, pick)
    return ops.take(x, [0, x.shape[axis] - 1, 0], axis=axis)


def _moved(x, pick):
    if len(x.shape) < 3:
        return None
    axes = list(range(1, len(x.shape)))
    return ops.transpose(x, (0, *pick(axes[::-1], axes[1:] + axes[:1])))


def _squeezed(x, pick):
    ones = [axis for axis in range(1, len(x.shape)) if x.shape[axis] == 1]
    return ops.squeeze(x, pick(*ones)) if ones and len(x.shape) > 2 else None


def _expanded(x, pick):
    return ops.expand_dims(x, pick(*range(1, len(x.shape) + 1))) if len(x.shape) < 5 else None


def _roll(x, pick):
    return ops.roll(x, pick(1, -1, 2), axis=_axis(x, pick))


def _self_attention(x, pick):
    if len(x.shape) != 3:
        return None
    scores = ops.matmul(x, ops.transpose(x, (0, 2, 1))) / math.sqrt(x.shape[-1])
    return ops.matmul(ops.softmax(scores), x)


def _channel_gate(x, pick):
    axes = tuple(range(1, len(x.shape) - 1))
    return x * ops.sigmoid(ops.mean(x, axis=axes, keepdims=True)) if axes else None


def _patches(x, pick):
    if len(x.shape) != 4 or _smallest(x) < 2:
        return None
    return ops.image.extract_patches(x, 2, padding=pick("valid", "same"))


def _resized(x, pick):
    if len(x.shape) != 4:
        return None
    return ops.image.resize(x, pick((4, 4), (6, 5)), interpolation=pick("bilinear", "nearest"))


def _of_choice(function, *options):
    return lambda x, pick: function(x, pick(*options))


def _plain(function):
    return lambda x, pick: function(x)


# Of one tensor.
OPERATIONS = {
    "plus": _of_choice(lambda x, number: x + number, 1.0, -0.5),
    "times": _of_choice(lambda x, number: x * number, 2.0, -0.5, 0.1),
    "minus from": _of_choice(lambda x, number: number - x, 1.0, 0.0),
    "divided by": _of_choice(lambda x, number: x / number, 2.0, 3.0),
    "negative": _plain(ops.negative),
    "abs": _plain(ops.abs),
    "square": _plain(ops.square),
    "sqrt": _plain(lambda x: ops.sqrt(ops.abs(x) + 0.1)),
    "rsqrt": _plain(lambda x: ops.rsqrt(ops.square(x) + 0.5)),
    "reciprocal": _plain(lambda x: 1.0 / (ops.abs(x) + 1.0)),
    "exp": _plain(lambda x: ops.exp(-ops.abs(x))),
    "log": _plain(lambda x: ops.log(ops.abs(x) + 0.5)),
    "log1p": _plain(lambda x: ops.log1p(ops.abs(x))),
    "power": _of_choice(lambda x, power: ops.power(ops.abs(x) + 0.1, power), 2.0, 3.0, 0.5, 1.5),
    "clip": _of_choice(lambda x, ends: ops.clip(x, *ends), (-1.0, 1.0), (0.0, 1.0), (-0.5, 2.0)),
    "maximum of zero": _plain(lambda x: ops.maximum(x, 0.0)),
    "minimum of one": _plain(lambda x: ops.minimum(x, 1.0)),
    "where": _plain(lambda x: ops.where(x > 0, x, 0.1 * x)),
    "mask": _plain(lambda x: x * ops.cast(x > 0.1, x.dtype)),
    "sin": _plain(ops.sin),
    "activation": lambda x, pick: keras.activations.get(pick(*ACTIVATIONS))(x),
    "softmax": lambda x, pick: ops.softmax(x, axis=_axis(x, pick)),
    "log_softmax": _plain(ops.log_softmax),
    "mean": _over(ops.mean),
    "sum": _over(ops.sum),
    "max": _over(ops.max),
    "min": _over(ops.min),
    "var": _over(ops.var),
    "std": _over(ops.std),
    "prod": _over(ops.prod),
    "logsumexp": _over(ops.logsumexp),
    "norm": _over(lambda x, axis, keepdims: ops.sqrt(ops.sum(x * x, axis, keepdims) + 1e-3)),
    "normalize": _plain(lambda x: ops.normalize(x, axis=-1)),
    "standardized": _standardized,
    "cumsum": lambda x, pick: ops.cumsum(x, axis=_axis(x, pick)),
    "slice": _slice,
    "one": _one,
    "split": _split,
    "gated halves": _gated_halves,
    "pad": _pad,
    "flip": lambda x, pick: ops.flip(x, axis=_axis(x, pick)),
    "roll": _roll,
    "tile": lambda x, pick: ops.tile(x, (1, *pick((2,), (1, 2))[: len(x.shape) - 1])),
    "repeat": lambda x, pick: ops.repeat(x, 2, axis=_axis(x, pick)),
    "take": _take,
    "top_k": _top,
    "transpose": _moved,
    "squeeze": _squeezed,
    "expand_dims": _expanded,
    "channel gate": _channel_gate,
    "self-attention": _self_attention,
    "patches": _patches,
    "resize": _resized,
    "argmax": lambda x, pick: ops.one_hot(ops.argmax(x, axis=-1), x.shape[-1]),
}


def _alike(x, y):
    return x.shape == y.shape


def _broadcast(x, y):
    """Tell whether two tensors broadcast to the shape of the first or of the second."""
    if len(x.shape) != len(y.shape):
        return False
    pairs = list(zip(x.shape[1:], y.shape[1:], strict=True))
    return all(b in (a, 1) for a, b in pairs) or all(a in (b, 1) for a, b in pairs)


def _element_wise(function):
    return lambda x, y, pick: function(x, y) if _broadcast(x, y) else None


def _merged(kind):
    return lambda x, y, pick: getattr(kl, kind)()([x, y]) if _alike(x, y) else None


def _concatenated(x, y, pick):
    if len(x.shape) != len(y.shape):
        return None
    axis = pick(-1, 1) % len(x.shape)
    others = [i for i in range(1, len(x.shape)) if i != axis]
    if any(x.shape[i] != y.shape[i] for i in others):
        return None
    return pick(kl.Concatenate(axis), lambda both: ops.concatenate(both, axis=axis))([x, y])


def _stacked(x, y, pick):
    return ops.stack([x, y], axis=pick(1, -1)) if _alike(x, y) and len(x.shape) < 5 else None


def _matmul(x, y, pick):
    if not 3 == len(x.shape) == len(y.shape):
        return None
    if x.shape[2] == y.shape[1]:
        return ops.matmul(x, y)
    if x.shape[2] == y.shape[2]:
        return pick(
            lambda: ops.matmul(x, ops.transpose(y, (0, 2, 1))),
            lambda: ops.einsum("abc,adc->abd", x, y),
            lambda: kl.Dot(axes=(2, 2), normalize=pick(False, True))([x, y]),
        )()
    return None


def _attention(x, y, pick):
    if not 3 == len(x.shape) == len(y.shape):
        return None
    kind = pick("MultiHeadAttention", "GroupQueryAttention", "Attention", "AdditiveAttention")
    if kind in ("Attention", "AdditiveAttention"):
        return getattr(kl, kind)()([x, y]) if x.shape[-1] == y.shape[-1] else None
    if kind == "MultiHeadAttention":
        layer = kl.MultiHeadAttention(2, 3)
    elif x.shape[-1] == y.shape[-1]:
        layer = kl.GroupQueryAttention(3, 2, 1)
    else:
        return None
    return layer(x, y, use_causal_mask=pick(False, True) and x.shape[1] == y.shape[1])


def _conditioned(x, y, pick):
    """Scale or shift the channels of a tensor by a layer of the other's means."""
    pooled = y if len(y.shape) == 2 else ops.mean(y, axis=tuple(range(1, len(y.shape) - 1)))
    gate = kl.Dense(x.shape[-1], activation=pick("sigmoid", None))(pooled)
    for _ in range(len(x.shape) - 2):
        gate = ops.expand_dims(gate, 1)
    return pick(ops.multiply, ops.add)(x, gate)


# Of two tensors.
JOINS = {
    "conditioned": _conditioned,
    "Add": _merged("Add"),
    "Subtract": _merged("Subtract"),
    "Multiply": _merged("Multiply"),
    "Average": _merged("Average"),
    "Maximum": _merged("Maximum"),
    "Minimum": _merged("Minimum"),
    "Concatenate": _concatenated,
    "add": _element_wise(ops.add),
    "subtract": _element_wise(ops.subtract),
    "multiply": _element_wise(ops.multiply),
    "divide": _element_wise(lambda x, y: x / (1.0 + y * y)),
    "maximum": _element_wise(ops.maximum),
    "minimum": _element_wise(ops.minimum),
    "squared_difference": _element_wise(lambda x, y: ops.square(x - y)),
    "select": _element_wise(lambda x, y: ops.where(x > y, x, y)),
    "lerp": _element_wise(lambda x, y: x + 0.3 * (y - x)),
    "stack": _stacked,
    "matmul": _matmul,
    "attention": _attention,
}
