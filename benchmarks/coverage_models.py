"""The models of the coverage tables: toys that hold one kind of layer each, and known networks.

Toys are built from a library, keras or tf_keras, and small inputs; networks come from its
``applications`` without their trained weights, at about the smallest input that they take.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
from coverage_toys import (
    VOLUME,
    after_convolution,
    after_dense,
    chain,
    encoder,
    gated_pool,
    grouped_query,
    headed,
    layer,
    masked_encoder,
    nested,
    on_series,
    on_tokens,
    query_and_value,
    shared,
    subclassed,
    u_net,
    wrapped,
)


@dataclasses.dataclass(frozen=True)
class Row:
    """A model of the tables.

    Attributes:
        group: the part of the tables that it belongs to.
        build: takes the library and returns the model.
        tfmot: whether TFMOT's ``quantize_model`` takes the whole of it on tf_keras; None if not
            measured.
        until: the layer behind which ``shortened`` cuts it off; None where it stays whole.
        allow_float: paths of the layers that may compute in float, and are listed as such.
    """

    group: str
    build: Callable
    tfmot: bool | None = None
    until: str | None = None
    allow_float: tuple[str, ...] = ()


def reg_net_x(library):
    """Build RegNetX002, which Keras 3 has no more (Radosavovic et al. 2020)."""
    kl = library.layers

    def normalized(x, relu=True):
        x = kl.BatchNormalization()(x)
        return kl.ReLU()(x) if relu else x

    inputs = library.Input((64, 64, 3))
    x = normalized(kl.Conv2D(32, 3, 2, padding="same", use_bias=False)(inputs))
    for stage, (depth, width) in enumerate(((1, 24), (1, 56), (4, 152), (7, 368))):
        for block in range(depth):
            stride = 2 if block == 0 else 1
            y = normalized(kl.Conv2D(width, 1, use_bias=False)(x))
            y = kl.Conv2D(width, 3, stride, "same", groups=width // 8, use_bias=False)(y)
            y = normalized(kl.Conv2D(width, 1, use_bias=False)(normalized(y)), relu=False)
            if block == 0:
                x = normalized(kl.Conv2D(width, 1, stride, use_bias=False)(x), relu=False)
            x = kl.ReLU(name=f"stage{stage}_block{block}")(kl.Add()([x, y]))
    return headed(library, inputs, kl.GlobalAveragePooling2D()(x))


def network(name, size=32, **settings):
    """Return a function that builds a member of a library's ``applications``."""

    def build(library):
        make = getattr(library.applications, name)
        shape = (size, size, 3)
        return make(
            input_shape=shape, weights=None, classes=10, classifier_activation=None, **settings
        )

    return build


CAUSAL = {"use_causal_mask": True}
FRAMES = (4, 8, 8, 2)

LAYERS = {
    "SeparableConv2D": after_convolution("SeparableConv2D", 8, 3, activation="relu"),
    "U-Net": u_net,
    "shared layers": shared,
    "Lambda": after_convolution("Lambda", lambda x: x * 2.0),
    "LeakyReLU": after_convolution("LeakyReLU", 0.1),
    "swish": after_convolution("Activation", "swish"),
    "GELU": after_convolution("Activation", "gelu"),
    "Conv1D": on_series(layer("Conv1D", 8, 3, activation="relu")),
    "LSTM": on_series(layer("LSTM", 8)),
    "GRU": on_series(layer("GRU", 8)),
    "Bidirectional": on_series(wrapped("Bidirectional", layer("LSTM", 8))),
    "nested models": nested,
    "MultiHeadAttention": encoder(),
    "subclassed models": subclassed,
    "Embedding": on_tokens(layer("Conv1D", 8, 3)),
    "Conv3D": chain(
        VOLUME, layer("Conv3D", 8, 3, activation="relu"), layer("GlobalAveragePooling3D")
    ),
    "PReLU": after_convolution("PReLU", "uniform", shared_axes=[1, 2]),
}

FURTHER_LAYERS = {
    "SimpleRNN": on_series(layer("SimpleRNN", 8, return_sequences=True)),
    "LSTM of masked tokens": on_tokens(layer("LSTM", 8), mask_zero=True),
    "LSTM with dropout": on_series(layer("LSTM", 8, dropout=0.2)),
    "Bidirectional GRU": on_series(
        wrapped("Bidirectional", layer("GRU", 8, return_sequences=True))
    ),
    "ConvLSTM2D": chain(FRAMES, layer("ConvLSTM2D", 4, 3)),
    "TimeDistributed": chain(FRAMES, wrapped("TimeDistributed", layer("Conv2D", 4, 3))),
    "attention, causal mask": encoder(**CAUSAL),
    "attention, masked tokens": masked_encoder,
    "GroupQueryAttention": grouped_query,
    "Attention": query_and_value("Attention"),
    "Attention, causal mask": query_and_value("Attention", **CAUSAL),
    "AdditiveAttention": query_and_value("AdditiveAttention"),
    "GroupNormalization": after_convolution("GroupNormalization", 4),
    "LayerNormalization": after_dense(layer("LayerNormalization")),
    "RMSNormalization": after_dense(layer("RMSNormalization")),
    "UnitNormalization": after_dense(layer("UnitNormalization")),
    "a layer of one's own": after_dense(lambda library: gated_pool(library)(name="own")),
    "grouped convolution": after_convolution("Conv2D", 16, 3, groups=4),
    "ELU": after_convolution("ELU"),
    "SELU": after_convolution("Activation", "selu"),
    "softplus": after_convolution("Activation", "softplus"),
    "mish": after_convolution("Activation", "mish"),
    "hard_swish": after_convolution("Activation", "hard_swish"),
    "hard_sigmoid": after_convolution("Activation", "hard_sigmoid"),
    "softsign": after_convolution("Activation", "softsign"),
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

# Where every kind of block of a network has come at least once, but for those of some Inceptions'
# later stages.
UNTIL = {
    "MobileNetV2": "block_4_add",
    "ResNet50": "conv3_block2_out",
    "InceptionV3": "mixed4",
    "Xception": "block5_sepconv1_act",
    "VGG16": "block4_pool",
    "MobileNetV3Small": "expanded_conv_4_add",
    "MobileNetV3Large": "expanded_conv_8_add",
    "EfficientNetB0": "block3b_add",
    "EfficientNetV2B0": "block4b_add",
    "ResNet50V2": "conv3_block2_out",
    "DenseNet121": "conv3_block2_concat",
    "NASNetMobile": "normal_concat_1",
    "ConvNeXtTiny": "convnext_tiny_stage_1_block_2_depthwise_conv",
    "RegNetX002": "stage2_block1",
    "VGG19": "block4_pool",
    "InceptionResNetV2": "block35_2_ac",
}

ROWS = {
    name: Row(group, build, name in TFMOT_TAKES if tried else None, UNTIL.get(name))
    for group, tried, builds in [
        ("layers", True, LAYERS),
        ("further layers", False, FURTHER_LAYERS),
        ("networks", True, NETWORKS),
        ("further networks", False, FURTHER_NETWORKS),
    ]
    for name, build in builds.items()
}


def shortened(row, library):
    """Build a model of the tables, cut off behind the layer that its row names."""
    model = row.build(library)
    if row.until is None:
        return model
    # MobileNetV3's "expanded_conv_4_add" is "expanded_conv_4/Add" in tf_keras.
    names = {found.name.replace("/", "_").lower(): found.name for found in model.layers}
    outputs = model.get_layer(names[row.until]).output
    if len(outputs.shape) == 4:
        outputs = library.layers.GlobalAveragePooling2D()(outputs)
    return headed(library, model.inputs, outputs)


def examples(model, count, seed=0):
    """Return random inputs of a model, numbers in [0, 1) or tokens, and labels of its outputs."""
    generator = np.random.default_rng(seed)
    inputs = []
    for tensor in model.inputs:
        shape = (count, *tensor.shape[1:])
        dtype = getattr(tensor.dtype, "name", tensor.dtype)  # tf_keras says it as TensorFlow does
        if dtype.startswith("float"):
            inputs.append(generator.random(shape, dtype="float32"))
        else:
            inputs.append(generator.integers(0, 20, shape).astype(dtype))
    targets = [generator.random((count, *x.shape[1:]), dtype="float32") for x in model.outputs]
    if len(targets) == 1:
        (targets,) = targets
    else:
        targets = keras.tree.pack_sequence_as(model._outputs_struct, targets)
    return (inputs[0] if len(inputs) == 1 else inputs), targets
