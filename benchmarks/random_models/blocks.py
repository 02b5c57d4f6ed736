"""Parts of published models: several layers and operations that belong together.

An entry takes a tensor and ``pick``, as one of the vocabulary; it returns None where it does not
fit. It makes its own layers, so it stands in models alone, not in the ``call`` of a layer.
"""

import math

import keras
import numpy as np
from keras import layers as kl
from keras import ops

HEADS = 2


def _by_rank(series, image):
    """Return the kind of layer that fits a tensor of its rank; None for other ranks."""
    return lambda x: {3: series, 4: image}.get(len(x.shape))


_convolution = _by_rank(kl.Conv1D, kl.Conv2D)
_depthwise = _by_rank(kl.DepthwiseConv1D, kl.DepthwiseConv2D)
_dropped = _by_rank(kl.SpatialDropout1D, kl.SpatialDropout2D)


def _normalized(x, pick):
    kinds = (kl.BatchNormalization, kl.LayerNormalization, kl.RMSNormalization)
    return pick(*kinds)()(x)


def _basic_residual(x, pick):
    """ResNet: two convolutions beside a shortcut, which has one where sizes change."""
    if (convolution := _convolution(x)) is None:
        return None
    channels, strides = pick(x.shape[-1], 4), pick(1, 2)
    y = convolution(channels, 3, strides, "same", use_bias=False)(x)
    y = ops.relu(kl.BatchNormalization()(y))
    y = kl.BatchNormalization()(convolution(channels, 3, padding="same", use_bias=False)(y))
    if strides > 1 or channels != x.shape[-1]:
        x = kl.BatchNormalization()(convolution(channels, 1, strides)(x))
    return pick(kl.ReLU(), kl.Activation("silu"))(kl.Add()([x, y]))


def _inverted_residual(x, pick):
    """MobileNetV3: expand, filter, squeeze and excite, project."""
    if (convolution := _convolution(x)) is None:
        return None
    activation = pick("relu6", "hard_silu", "silu")
    y = convolution(2 * x.shape[-1], 1, use_bias=False)(x)
    y = kl.Activation(activation)(kl.BatchNormalization()(y))
    y = kl.BatchNormalization()(_depthwise(x)(3, padding="same", use_bias=False)(y))
    y = kl.Activation(activation)(y)
    if pick(True, False):
        axes = tuple(range(1, len(y.shape) - 1))
        gate = kl.Dense(2, "relu")(ops.mean(y, axes, keepdims=True))
        y = y * kl.Dense(y.shape[-1], pick("sigmoid", "hard_sigmoid"))(gate)
    return x + kl.BatchNormalization()(convolution(x.shape[-1], 1, use_bias=False)(y))


def _convnext(x, pick):
    """ConvNeXt: a depthwise kernel, then a perceptron with a scale of each channel."""
    if (depthwise := _depthwise(x)) is None:
        return None
    y = kl.LayerNormalization(epsilon=1e-6)(depthwise(3, padding="same")(x))
    y = kl.Dense(x.shape[-1])(kl.Dense(2 * x.shape[-1], "gelu")(y))
    return x + kl.Dropout(0.1)(Scaled(pick(False, True))(y))


def _transformer(x, pick):
    """A block of a transformer's encoder, normalized before or behind."""
    if len(x.shape) != 3:
        return None
    attention, before = kl.MultiHeadAttention(HEADS, 3, dropout=0.1), pick(True, False)
    causal = pick(False, True)
    y = _normalized(x, pick) if before else x
    x = x + attention(y, y, use_causal_mask=causal)
    x = x if before else kl.LayerNormalization()(x)
    y = _normalized(x, pick) if before else x
    y = kl.Dense(x.shape[-1])(kl.Dense(8, pick("gelu", "relu"))(y))
    return x + y if before else kl.LayerNormalization()(x + y)


def _attention_by_hand(x, pick):
    """Heads cut from one projection, as in many a ``call``."""
    if len(x.shape) != 3:
        return None
    length = x.shape[1]
    qkv = ops.reshape(kl.Dense(3 * HEADS * 2, use_bias=False)(x), (-1, length, 3, HEADS, 2))
    qkv = ops.transpose(qkv, (2, 0, 3, 1, 4))
    query, key, value = qkv[0], qkv[1], qkv[2]
    scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) * 2**-0.5
    if pick(False, True):
        scores = scores + np.triu(np.full((length, length), -1e9, "float32"), 1)
    found = ops.matmul(ops.softmax(scores, -1), value)
    return kl.Dense(x.shape[-1])(ops.reshape(ops.swapaxes(found, 1, 2), (-1, length, HEADS * 2)))


def _dot_product_attention(x, pick):
    if len(x.shape) != 3:
        return None
    query, key, value = (
        ops.reshape(kl.Dense(HEADS * 2)(x), (-1, x.shape[1], HEADS, 2)) for _ in range(3)
    )
    found = ops.dot_product_attention(query, key, value, is_causal=pick(False, True))
    return ops.reshape(found, (-1, x.shape[1], HEADS * 2))


def _gated_perceptron(x, pick):
    """SwiGLU and its kind."""
    gate = kl.Dense(6, pick("silu", "gelu", "sigmoid"), use_bias=False)(x)
    return kl.Dense(x.shape[-1], use_bias=False)(gate * kl.Dense(6, use_bias=False)(x))


def _mixer(x, pick):
    """MLP-Mixer: a perceptron over places, one over channels."""
    if len(x.shape) != 3:
        return None
    y = ops.transpose(_normalized(x, pick), (0, 2, 1))
    y = kl.Dense(x.shape[1])(kl.Dense(5, "gelu")(y))
    x = x + ops.transpose(y, (0, 2, 1))
    return x + kl.Dense(x.shape[-1])(kl.Dense(5, "gelu")(_normalized(x, pick)))


def _patch_embedding(x, pick):
    """ViT: patches as tokens, with their positions and a class token."""
    if len(x.shape) != 4 or min(x.shape[1:3]) < 2:
        return None
    x = kl.Conv2D(4, 2, 2)(x)
    x = kl.Reshape((-1, 4))(x)
    x = Positions()(x)
    return WithToken()(x) if pick(True, False) else x


def _windows(x, pick):
    """Swin: windows of two by two, rolled or not, each a series."""
    if len(x.shape) != 4 or x.shape[1] % 2 or x.shape[2] % 2:
        return None
    height, width, channels = x.shape[1:]
    if pick(False, True):
        x = ops.roll(x, shift=(-1, -1), axis=(1, 2))
    x = ops.reshape(x, (-1, height // 2, 2, width // 2, 2, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, height * width // 4, 4 * channels))


def _pixel_shuffle(x, pick):
    """ESPCN: channels become places."""
    if len(x.shape) != 4:
        return None
    height, width, _ = x.shape[1:]
    x = kl.Conv2D(8, 3, padding="same")(x)
    x = ops.reshape(x, (-1, height, width, 2, 2, 2))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 2 * height, 2 * width, 2))


def _channel_shuffle(x, pick):
    """ShuffleNet: one of two groups of channels is filtered, then both are shuffled."""
    if len(x.shape) != 4 or x.shape[-1] % 2:
        return None
    height, width, channels = x.shape[1:]
    left, right = ops.split(x, 2, axis=-1)
    right = kl.DepthwiseConv2D(3, padding="same", activation=pick("relu", None))(right)
    x = ops.reshape(ops.concatenate([left, right], -1), (-1, height, width, 2, channels // 2))
    return ops.reshape(ops.transpose(x, (0, 1, 2, 4, 3)), (-1, height, width, channels))


def _dense_block(x, pick):
    """DenseNet: what was and what is new, joined."""
    if (convolution := _convolution(x)) is None:
        return None
    for _ in range(2):
        y = kl.Activation(pick("relu", "elu"))(kl.BatchNormalization()(x))
        x = kl.Concatenate()([x, convolution(2, 3, padding="same")(y)])
    return x


def _inception(x, pick):
    if (convolution := _convolution(x)) is None:
        return None
    kind = kl.MaxPooling1D if len(x.shape) == 3 else kl.AveragePooling2D
    parts = [convolution(2, size, padding="same", activation="relu")(x) for size in (1, 3)]
    return kl.Concatenate()([*parts, convolution(2, 1)(kind(3, 1, "same")(x))])


def _wavenet(x, pick):
    """A gated dilated convolution with a residual."""
    if len(x.shape) != 3:
        return None
    y = kl.Conv1D(8, 2, padding="causal", dilation_rate=pick(2, 1, 3))(x)
    y = ops.tanh(y[..., :4]) * ops.sigmoid(y[..., 4:])
    return x + kl.Conv1D(x.shape[-1], 1)(kl.SpatialDropout1D(0.1)(y))


def _attention_pooling(x, pick):
    """A weighted mean over places."""
    if len(x.shape) != 3:
        return None
    weights = ops.softmax(kl.Dense(1)(kl.Dense(4, "tanh")(x)), axis=1)
    return pick(
        lambda: ops.sum(weights * x, axis=1),
        lambda: ops.squeeze(kl.Dot(axes=1)([weights, x]), 1),
        lambda: ops.einsum("bti,btd->bd", weights, x),
    )()


def _statistics_pooling(x, pick):
    """Mean and deviation over places, as for speakers."""
    if len(x.shape) != 3:
        return None
    deviation = ops.sqrt(ops.var(x, axis=1) + 1e-3)
    return ops.concatenate([ops.mean(x, axis=1), deviation], axis=-1)


def _highway(x, pick):
    gate = kl.Dense(x.shape[-1], "sigmoid")(x)
    return gate * kl.Dense(x.shape[-1], pick("relu", "tanh"))(x) + (1.0 - gate) * x


def _cross(x, pick):
    """Deep and cross: each feature times all."""
    return None if len(x.shape) != 2 else x * kl.Dense(x.shape[-1])(x) + x


def _interactions(x, pick):
    """A factorization machine's pairs: half of the square of the sum less the sum of squares."""
    if len(x.shape) != 3:
        return None
    squared = ops.square(ops.sum(x, axis=1))
    return 0.5 * (squared - ops.sum(ops.square(x), axis=1))


def _experts(x, pick):
    """A mixture of two experts."""
    if len(x.shape) not in (2, 3):
        return None
    gates = ops.softmax(kl.Dense(2)(x))
    experts = ops.stack([kl.Dense(4, "relu")(x), kl.Dense(4, "tanh")(x)], axis=-2)
    return ops.sum(experts * ops.expand_dims(gates, -1), axis=-2)


def _distances(x, pick):
    """Squared distances to the entries of a codebook."""
    if len(x.shape) != 2:
        return None
    codes = np.linspace(-1.0, 1.0, 3 * x.shape[-1], dtype="float32").reshape(3, x.shape[-1])
    return ops.sum(ops.square(ops.expand_dims(x, 1) - codes), axis=-1)


def _unit_embedding(x, pick):
    """An embedding of length one."""
    y = kl.Dense(4)(x)
    return y / ops.sqrt(ops.sum(ops.square(y), axis=-1, keepdims=True) + 1e-6)


def _stacked_cells(x, pick):
    """Two recurrent layers with a residual between them."""
    if len(x.shape) != 3 or x.shape[1] > 4:
        return None
    kind = pick(kl.LSTM, kl.GRU)
    y = kind(4, return_sequences=True)(x)
    y = y + kind(4, return_sequences=True)(kl.LayerNormalization()(y))
    return y if pick(True, False) else y[:, -1]


def _decoded(x, pick):
    """A decoder that begins where an encoder ends."""
    if len(x.shape) != 3 or x.shape[1] > 4:
        return None
    _, *states = kl.LSTM(3, return_state=True)(x)
    return kl.LSTM(3, return_sequences=True)(x, initial_state=states)


def _noisy(x, pick):
    """Layers that do something in training alone."""
    kinds = [kl.GaussianNoise(0.1), kl.GaussianDropout(0.1), kl.AlphaDropout(0.1)]
    kinds += [kl.ActivityRegularization(1e-3)] + ([_dropped(x)(0.1)] if _dropped(x) else [])
    return pick(*kinds)(x)


def _pyramid(x, pick):
    """A U-Net of one level."""
    if len(x.shape) != 4 or x.shape[1] % 2 or x.shape[2] % 2:
        return None
    y = kl.Conv2D(4, 3, padding="same", activation="relu")(kl.MaxPooling2D()(x))
    y = pick(
        kl.UpSampling2D(), kl.UpSampling2D(interpolation="bilinear"), kl.Conv2DTranspose(4, 2, 2)
    )(y)
    return kl.Conv2D(4, 3, padding="same")(kl.Concatenate()([x, y]))


def _pooled_context(x, pick):
    """DeepLab: the mean of an image, spread over it again."""
    if len(x.shape) != 4:
        return None
    height, width, _ = x.shape[1:]
    y = kl.Conv2D(2, 1, activation="relu")(kl.GlobalAveragePooling2D(keepdims=True)(x))
    y = pick(
        lambda: kl.UpSampling2D((height, width), interpolation="bilinear")(y),
        lambda: ops.broadcast_to(y, (ops.shape(x)[0], height, width, 2)),
        lambda: ops.tile(y, (1, height, width, 1)),
    )()
    dilated = kl.Conv2D(2, 3, padding="same", dilation_rate=2)(x)
    return kl.Concatenate()([dilated, y])


def _coordinates(x, pick):
    """CoordConv: places as two more channels."""
    if len(x.shape) != 4:
        return None
    height, width, _ = x.shape[1:]
    rows, columns = np.meshgrid(
        np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij"
    )
    places = np.stack([rows, columns], -1).astype("float32")[None]
    ones = ops.ones_like(x[..., :1])
    return kl.Conv2D(4, 1)(ops.concatenate([x, ones * places], axis=-1))


def _expected_place(x, pick):
    """Keypoints: the mean place of a heat map."""
    if len(x.shape) != 4:
        return None
    height, width, channels = x.shape[1:]
    heat = ops.softmax(ops.reshape(x, (-1, height * width, channels)), axis=1)
    places = np.repeat(np.linspace(0, 1, height, dtype="float32"), width)
    return ops.sum(heat * places[:, None], axis=1)


def _differences(x, pick):
    """What changes from place to place."""
    if len(x.shape) < 3 or x.shape[1] < 2:
        return None
    return x[:, 1:] - x[:, :-1]


def _lagged(x, pick):
    """A series beside itself, some steps ago."""
    if len(x.shape) != 3 or x.shape[1] < 3:
        return None
    earlier = ops.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    return ops.concatenate([x, earlier], -1)


def _decomposed(x, pick):
    """A trend, as a moving mean, and what is left."""
    if len(x.shape) != 3:
        return None
    trend = kl.AveragePooling1D(3, 1, "same")(x)
    return kl.Dense(4)(trend) + kl.Dense(4)(x - trend)


def _local_contrast(x, pick):
    """Differences from a blurred image."""
    if len(x.shape) != 4:
        return None
    blurred = kl.AveragePooling2D(3, 1, "same")(x)
    return (x - blurred) / (ops.sqrt(kl.AveragePooling2D(3, 1, "same")(ops.square(x))) + 0.1)


def _embedded_bins(x, pick):
    """A table's numbers, each with a vector and a bias of its own."""
    return None if len(x.shape) != 2 else Tokenized(3)(x)


def _temperature(x, pick):
    """Probabilities from cosines."""
    y = kl.UnitNormalization()(kl.Dense(4)(x))
    return ops.softmax(y * pick(4.0, 10.0))


def _flattened(x, pick):
    return kl.Dense(math.prod(x.shape[1:]) % 7 + 1, "relu")(kl.Flatten()(x))


@keras.saving.register_keras_serializable(package="random_models")
class Scaled(kl.Layer):
    """A learned factor of each channel, or of all."""

    def __init__(self, alike=False, **kwargs):
        super().__init__(**kwargs)
        self.alike = alike

    def build(self, shape):
        self.gamma = self.add_weight(shape=() if self.alike else shape[-1:], initializer="ones")

    def call(self, x):
        return x * self.gamma

    def get_config(self):
        return {**super().get_config(), "alike": self.alike}


@keras.saving.register_keras_serializable(package="random_models")
class Positions(kl.Layer):
    """A learned vector of each place, added."""

    def build(self, shape):
        self.table = kl.Embedding(*shape[1:])
        self.table.build(None)

    def call(self, x):
        return x + self.table(ops.arange(x.shape[1]))


@keras.saving.register_keras_serializable(package="random_models")
class WithToken(kl.Layer):
    """A learned token before the others."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="random_normal")

    def call(self, x):
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1)


@keras.saving.register_keras_serializable(package="random_models")
class Tokenized(kl.Layer):
    """A vector and a bias of each feature: a table becomes a series."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.width))
        self.bias = self.add_weight(shape=(shape[-1], self.width), initializer="zeros")

    def call(self, x):
        return ops.expand_dims(x, -1) * self.kernel + self.bias

    def get_config(self):
        return {**super().get_config(), "width": self.width}


BLOCKS = {
    "basic residual": _basic_residual,
    "inverted residual": _inverted_residual,
    "ConvNeXt": _convnext,
    "transformer": _transformer,
    "attention by hand": _attention_by_hand,
    "dot product attention": _dot_product_attention,
    "gated perceptron": _gated_perceptron,
    "mixer": _mixer,
    "patch embedding": _patch_embedding,
    "windows": _windows,
    "pixel shuffle": _pixel_shuffle,
    "channel shuffle": _channel_shuffle,
    "dense block": _dense_block,
    "inception": _inception,
    "WaveNet": _wavenet,
    "attention pooling": _attention_pooling,
    "statistics pooling": _statistics_pooling,
    "highway": _highway,
    "cross": _cross,
    "interactions": _interactions,
    "experts": _experts,
    "distances": _distances,
    "unit embedding": _unit_embedding,
    "stacked cells": _stacked_cells,
    "decoded": _decoded,
    "noisy": _noisy,
    "pyramid": _pyramid,
    "pooled context": _pooled_context,
    "coordinates": _coordinates,
    "expected place": _expected_place,
    "differences": _differences,
    "lagged": _lagged,
    "decomposed": _decomposed,
    "local contrast": _local_contrast,
    "embedded bins": _embedded_bins,
    "temperature": _temperature,
    "flattened": _flattened,
}
