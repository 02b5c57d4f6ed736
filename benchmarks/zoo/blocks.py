"""Blocks that several architectures of the zoo are made of."""

import keras
import numpy as np
from keras import layers as kl
from keras import ops

CLASSES = 5


def image(size=16, channels=3):
    """Return the input of an image network."""
    return keras.Input((size, size, channels), name="image")


def conv(x, filters, kernel=3, stride=1, act="relu", **settings):
    """Apply a convolution, its normalization and an activation."""
    x = kl.Conv2D(filters, kernel, stride, "same", use_bias=False, **settings)(x)
    x = kl.BatchNormalization()(x)
    return kl.Activation(act)(x) if act else x


def depthwise(x, kernel=3, stride=1, act="relu"):
    """Apply a depthwise convolution, its normalization and an activation."""
    x = kl.DepthwiseConv2D(kernel, stride, "same", use_bias=False)(x)
    x = kl.BatchNormalization()(x)
    return kl.Activation(act)(x) if act else x


def conv1d(x, filters, kernel=3, act="relu", **settings):
    """Apply a convolution along time, its normalization and an activation."""
    x = kl.Conv1D(filters, kernel, padding="same", **settings)(x)
    x = kl.BatchNormalization()(x)
    return kl.Activation(act)(x) if act else x


def residual(x, filters, stride=1, act="relu"):
    """Apply two convolutions beside a shortcut."""
    y = conv(conv(x, filters, 3, stride, act), filters, act=None)
    if stride > 1 or x.shape[-1] != filters:
        x = conv(x, filters, 1, stride, None)
    return kl.Activation(act)(kl.Add()([x, y]))


def squeeze_excite(x, ratio=4, act="relu", gate="sigmoid"):
    """Scale channels by what their means say."""
    pooled = kl.GlobalAveragePooling2D(keepdims=True)(x)
    pooled = kl.Conv2D(max(2, x.shape[-1] // ratio), 1, activation=act)(pooled)
    return kl.Multiply()([x, kl.Conv2D(x.shape[-1], 1, activation=gate)(pooled)])


def inverted_residual(x, filters, expansion=3, stride=1, act="silu", squeezed=False):
    """Widen, convolve each channel, and narrow again."""
    y = depthwise(conv(x, x.shape[-1] * expansion, 1, act=act), 3, stride, act)
    if squeezed:
        y = squeeze_excite(y, gate="hard_sigmoid" if act == "hard_swish" else "sigmoid")
    y = conv(y, filters, 1, act=None)
    return kl.Add()([x, y]) if stride == 1 and x.shape[-1] == filters else y


def head(x, units=CLASSES, act=None):
    """Average positions and classify."""
    pools = {
        3: kl.GlobalAveragePooling1D,
        4: kl.GlobalAveragePooling2D,
        5: kl.GlobalAveragePooling3D,
    }
    if len(x.shape) > 2:
        x = pools[len(x.shape)]()(x)
    return kl.Dense(units, act)(x)


def mlp(x, hidden, out=None, act="gelu"):
    """Apply two dense layers."""
    return kl.Dense(out or x.shape[-1])(kl.Dropout(0.1)(kl.Dense(hidden, act)(x)))


def transformer(x, heads=2, hidden=32, causal=False, first=True, memory=None, act="gelu"):
    """Apply a transformer block: norms first or last, with attention to a memory if given."""
    width = x.shape[-1]

    def attend(x, y, **how):
        return kl.MultiHeadAttention(heads, width // heads)(x, y, **how)

    def part(x, function):
        if first:
            return kl.Add()([x, function(kl.LayerNormalization(epsilon=1e-6)(x))])
        return kl.LayerNormalization(epsilon=1e-6)(kl.Add()([x, function(x)]))

    x = part(x, lambda h: attend(h, h, use_causal_mask=causal))
    if memory is not None:
        x = part(x, lambda h: attend(h, memory))
    return part(x, lambda h: mlp(h, hidden, act=act))


@keras.saving.register_keras_serializable(package="zoo")
class Positions(kl.Layer):
    """Adds a learned vector for each place of a sequence."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], initializer="normal", name="table")

    def call(self, x):
        return x + self.table


@keras.saving.register_keras_serializable(package="zoo")
class ClassToken(kl.Layer):
    """Puts a learned vector before a sequence."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="normal", name="token")

    def call(self, x):
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1)


@keras.saving.register_keras_serializable(package="zoo")
class Queries(kl.Layer):
    """Gives learned vectors, the same for each example of its input."""

    def __init__(self, count, width=16, **kwargs):
        super().__init__(**kwargs)
        self.count, self.width = count, width

    def build(self, shape):
        self.queries = self.add_weight(
            shape=(1, self.count, self.width), initializer="normal", name="queries"
        )

    def call(self, x):
        return ops.repeat(self.queries, ops.shape(x)[0], axis=0)

    def get_config(self):
        return {**super().get_config(), "count": self.count, "width": self.width}


@keras.saving.register_keras_serializable(package="zoo")
class RelativeBias(kl.Layer):
    """Adds a learned number for each head and distance to scores of attention."""

    def build(self, shape):
        heads, length = shape[1], shape[-1]
        self.table = self.add_weight(
            shape=(2 * length - 1, heads), initializer="normal", name="table"
        )
        places = np.arange(length)
        self.distances = places[:, None] - places + length - 1

    def call(self, scores):
        return scores + ops.transpose(ops.take(self.table, self.distances, axis=0), (2, 0, 1))


@keras.saving.register_keras_serializable(package="zoo")
class Scale(kl.Layer):
    """Scales each channel by a learned factor."""

    def build(self, shape):
        self.factor = self.add_weight(shape=shape[-1:], initializer="ones", name="factor")

    def call(self, x):
        return x * self.factor


@keras.saving.register_keras_serializable(package="zoo")
class TokensAndPositions(kl.Layer):
    """Embeds tokens and the places where they stand."""

    def __init__(self, vocabulary=20, width=16, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary, self.width = vocabulary, width
        self.tokens = kl.Embedding(vocabulary, width)

    def build(self, shape):
        self.tokens.build(shape)
        self.places = kl.Embedding(shape[-1], self.width)
        self.places.build(shape)

    def call(self, x):
        return self.tokens(x) + self.places(ops.arange(x.shape[-1]))

    def get_config(self):
        return {**super().get_config(), "vocabulary": self.vocabulary, "width": self.width}


def patches(x, size=4, width=16):
    """Cut an image into patches and embed them with their places."""
    x = kl.Conv2D(width, size, size)(x)
    x = kl.Reshape((-1, width))(x)
    return Positions()(x)


def tokens(length=12, name="tokens"):
    """Return an input of tokens."""
    return keras.Input((length,), dtype="int32", name=name)


def sinusoids(length, width):
    """Return the table of sines and cosines that says where a step stands."""
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
    return np.concatenate([np.sin(angles), np.cos(angles)], -1).astype("float32")
