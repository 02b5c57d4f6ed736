"""The models of the coverage table: toys that hold one kind of layer each, and known networks.

Toys are built from ``keras`` and small inputs; networks come from ``keras.applications`` without
their trained weights, at about the smallest input that they take.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
from keras import layers as kl

IMAGE, SERIES, TOKENS, VOLUME = (16, 16, 3), (12, 8), (12,), (8, 12, 12, 2)
CLASSES = 5


@dataclasses.dataclass(frozen=True)
class Row:
    """A model of the table.

    Attributes:
        group: the part of the table that it belongs to.
        build: returns the model.
        tfmot: whether TFMOT's ``quantize_model`` takes it on tf_keras; None if not measured.
        allow_float: paths of the layers that may compute in float, and are listed as such.
    """

    group: str
    build: Callable[[], keras.Model]
    tfmot: bool | None = None
    allow_float: tuple[str, ...] = ()


def chain(shape, *layers, dtype="float32"):
    """Return a function that builds a model of layers one after the other, and a head.

    Each layer is given as a function that makes it.
    """

    def build():
        inputs = outputs = keras.Input(shape, dtype=dtype)
        for make in layers:
            outputs = make()(outputs)
        return headed(inputs, outputs)

    return build


def after_convolution(layer, *arguments, **settings):
    return chain(IMAGE, lambda: kl.Conv2D(8, 3), lambda: layer(*arguments, **settings))


def after_dense(layer, *arguments, **settings):
    return chain(SERIES, lambda: kl.Dense(8), lambda: layer(*arguments, **settings))


def on_series(make):
    return chain(SERIES, make)


def on_tokens(make, mask_zero=False):
    return chain(TOKENS, lambda: kl.Embedding(20, 8, mask_zero=mask_zero), make, dtype="int32")


def headed(inputs, outputs):
    if len(outputs.shape) > 2:
        outputs = kl.Flatten()(outputs)
    return keras.Model(inputs, kl.Dense(CLASSES, name="head")(outputs))


def encoder(shape=SERIES, **attention):
    """Return a function that builds a transformer encoder block."""

    def build():
        inputs = keras.Input(shape)
        x = kl.Dense(8)(inputs)
        x = kl.LayerNormalization()(x + kl.MultiHeadAttention(2, 4)(x, x, **attention))
        x = kl.LayerNormalization()(x + kl.Dense(8)(kl.Dense(16, activation="gelu")(x)))
        return headed(inputs, x)

    return build


def masked_encoder():
    inputs = keras.Input(TOKENS, dtype="int32")
    x = kl.Embedding(20, 8, mask_zero=True)(inputs)
    x = kl.LayerNormalization()(kl.Add()([x, kl.MultiHeadAttention(2, 4)(x, x)]))
    return headed(inputs, x)


def grouped_query():
    inputs = keras.Input(SERIES)
    x = kl.GroupQueryAttention(4, num_query_heads=4, num_key_value_heads=2)(inputs, inputs)
    return headed(inputs, x)


def query_and_value(layer, **settings):
    def build():
        inputs = keras.Input(SERIES)
        query, value = kl.Conv1D(8, 3, padding="same")(inputs), kl.Dense(8)(inputs)
        return headed(inputs, layer()([query, value], **settings))

    return build


def u_net():
    inputs = keras.Input((16, 16, 3))
    fine = kl.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    coarse = kl.Conv2D(16, 3, padding="same", activation="relu")(kl.MaxPooling2D()(fine))
    x = kl.Concatenate()([kl.Conv2DTranspose(8, 2, strides=2)(coarse), fine])
    x = kl.Conv2D(8, 3, padding="same", activation="relu")(x)
    return keras.Model(inputs, kl.Conv2D(1, 1, activation="sigmoid")(x))


def shared():
    left, right = keras.Input(IMAGE), keras.Input(IMAGE)
    layer = kl.Conv2D(8, 3, activation="relu")
    return headed([left, right], kl.Subtract()([layer(left), layer(right)]))


def nested():
    inner = keras.Sequential([keras.Input((14, 14, 8)), kl.Conv2D(8, 3), kl.ReLU()], name="inner")
    inputs = keras.Input(IMAGE)
    return headed(inputs, inner(kl.Conv2D(8, 3)(inputs)))


@keras.saving.register_keras_serializable(package="coverage")
class Residual(keras.Model):
    """A subclassed model with a bare addition between its layers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = kl.Conv2D(8, 3, padding="same", activation="relu", name="first")
        self.second = kl.Conv2D(8, 3, padding="same", name="second")

    def call(self, inputs):
        x = self.first(inputs)
        return keras.ops.relu(self.second(x) + x)


def subclassed():
    inputs = keras.Input(IMAGE)
    return headed(inputs, Residual(name="residual")(inputs))


@keras.saving.register_keras_serializable(package="coverage")
class GatedPool(kl.Layer):
    """A user's own layer: weights, a gate and a weighted mean, four tensors of its own."""

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], input_shape[-1]), name="kernel")

    def call(self, inputs):
        gate = keras.ops.sigmoid(keras.ops.matmul(inputs, self.kernel))
        weighted = keras.ops.sum(inputs * gate, axis=1)
        return weighted / (keras.ops.sum(gate, axis=1) + 1.0)


def reg_net_x():
    """Build RegNetX002, which Keras 3 has no more (Radosavovic et al. 2020)."""

    def normalized(x, relu=True):
        x = kl.BatchNormalization()(x)
        return kl.ReLU()(x) if relu else x

    inputs = keras.Input((64, 64, 3))
    x = normalized(kl.Conv2D(32, 3, 2, padding="same", use_bias=False)(inputs))
    for depth, width in ((1, 24), (1, 56), (4, 152), (7, 368)):
        for block in range(depth):
            stride = 2 if block == 0 else 1
            y = normalized(kl.Conv2D(width, 1, use_bias=False)(x))
            y = kl.Conv2D(width, 3, stride, "same", groups=width // 8, use_bias=False)(y)
            y = normalized(kl.Conv2D(width, 1, use_bias=False)(normalized(y)), relu=False)
            if block == 0:
                x = normalized(kl.Conv2D(width, 1, stride, use_bias=False)(x), relu=False)
            x = kl.ReLU()(kl.Add()([x, y]))
    return headed(inputs, kl.GlobalAveragePooling2D()(x))


def network(name, size=32, **settings):
    """Return a function that builds a member of ``keras.applications``."""

    def build():
        make = getattr(keras.applications, name)
        shape = (size, size, 3)
        return make(
            input_shape=shape, weights=None, classes=10, classifier_activation=None, **settings
        )

    return build


CAUSAL = {"use_causal_mask": True}
FRAMES = (4, 8, 8, 2)

LAYERS = {
    "SeparableConv2D": after_convolution(kl.SeparableConv2D, 8, 3, activation="relu"),
    "U-Net": u_net,
    "shared layers": shared,
    "Lambda": after_convolution(kl.Lambda, lambda x: x * 2.0),
    "LeakyReLU": after_convolution(kl.LeakyReLU, 0.1),
    "swish": after_convolution(kl.Activation, "swish"),
    "GELU": after_convolution(kl.Activation, "gelu"),
    "Conv1D": on_series(lambda: kl.Conv1D(8, 3, activation="relu")),
    "LSTM": on_series(lambda: kl.LSTM(8)),
    "GRU": on_series(lambda: kl.GRU(8)),
    "Bidirectional": on_series(lambda: kl.Bidirectional(kl.LSTM(8))),
    "nested models": nested,
    "MultiHeadAttention": encoder(),
    "subclassed models": subclassed,
    "Embedding": on_tokens(lambda: kl.Conv1D(8, 3)),
    "Conv3D": chain(VOLUME, lambda: kl.Conv3D(8, 3, activation="relu"), kl.GlobalAveragePooling3D),
    "PReLU": after_convolution(kl.PReLU, "uniform", shared_axes=[1, 2]),
}

FURTHER_LAYERS = {
    "SimpleRNN": on_series(lambda: kl.SimpleRNN(8, return_sequences=True)),
    "LSTM of masked tokens": on_tokens(lambda: kl.LSTM(8), mask_zero=True),
    "LSTM with dropout": on_series(lambda: kl.LSTM(8, dropout=0.2)),
    "Bidirectional GRU": on_series(lambda: kl.Bidirectional(kl.GRU(8, return_sequences=True))),
    "ConvLSTM2D": chain(FRAMES, lambda: kl.ConvLSTM2D(4, 3)),
    "TimeDistributed": chain(FRAMES, lambda: kl.TimeDistributed(kl.Conv2D(4, 3))),
    "attention, causal mask": encoder(**CAUSAL),
    "attention, masked tokens": masked_encoder,
    "GroupQueryAttention": grouped_query,
    "Attention": query_and_value(kl.Attention),
    "Attention, causal mask": query_and_value(kl.Attention, **CAUSAL),
    "AdditiveAttention": query_and_value(kl.AdditiveAttention),
    "GroupNormalization": after_convolution(kl.GroupNormalization, 4),
    "LayerNormalization": after_dense(kl.LayerNormalization),
    "RMSNormalization": after_dense(kl.RMSNormalization),
    "UnitNormalization": after_dense(kl.UnitNormalization),
    "a layer of one's own": after_dense(GatedPool, name="own"),
    "grouped convolution": after_convolution(kl.Conv2D, 16, 3, groups=4),
    "ELU": after_convolution(kl.ELU),
    "SELU": after_convolution(kl.Activation, "selu"),
    "softplus": after_convolution(kl.Activation, "softplus"),
    "mish": after_convolution(kl.Activation, "mish"),
    "hard_swish": after_convolution(kl.Activation, "hard_swish"),
    "hard_sigmoid": after_convolution(kl.Activation, "hard_sigmoid"),
    "softsign": after_convolution(kl.Activation, "softsign"),
}

NETWORKS = {
    "MobileNet": network("MobileNet", alpha=0.25),
    "MobileNetV2": network("MobileNetV2", alpha=0.35),
    "ResNet50": network("ResNet50"),
    "InceptionV3": network("InceptionV3", 75),
    "Xception": network("Xception", 71),
    "VGG16": network("VGG16"),
    "MobileNetV3Small": network("MobileNetV3Small"),
    "MobileNetV3Large": network("MobileNetV3Large"),
    "EfficientNetB0": network("EfficientNetB0"),
    "EfficientNetV2B0": network("EfficientNetV2B0"),
    "ResNet50V2": network("ResNet50V2"),
    "DenseNet121": network("DenseNet121"),
    "NASNetMobile": network("NASNetMobile"),
    "ConvNeXtTiny": network("ConvNeXtTiny"),
    "RegNetX002": reg_net_x,
}

FURTHER_NETWORKS = {
    "VGG19": network("VGG19"),
    "InceptionResNetV2": network("InceptionResNetV2", 75),
}

# What its `quantize_model` takes on tf_keras 2.21; the others of LAYERS and NETWORKS it refuses.
TFMOT_TAKES = frozenset(
    {
        "SeparableConv2D",
        "U-Net",
        "shared layers",
        "Lambda",
        "LeakyReLU",
        "swish",
        "GELU",
        "MobileNet",
        "MobileNetV2",
        "ResNet50",
        "InceptionV3",
        "Xception",
        "VGG16",
    }
)

ROWS = {
    name: Row(group, build, name in TFMOT_TAKES if tried else None)
    for group, tried, builds in [
        ("layers", True, LAYERS),
        ("further layers", False, FURTHER_LAYERS),
        ("networks", True, NETWORKS),
        ("further networks", False, FURTHER_NETWORKS),
    ]
    for name, build in builds.items()
}


def examples(model, count, seed=0):
    """Return random inputs of a model, numbers in [0, 1) or tokens, and labels of its outputs."""
    generator = np.random.default_rng(seed)
    inputs = [
        generator.random((count, *tensor.shape[1:]), dtype="float32")
        if keras.backend.is_float_dtype(tensor.dtype)
        else generator.integers(0, 20, (count, *tensor.shape[1:])).astype(tensor.dtype)
        for tensor in model.inputs
    ]
    targets = generator.random((count, *model.output_shape[1:]), dtype="float32")
    return (inputs[0] if len(inputs) == 1 else inputs), targets
