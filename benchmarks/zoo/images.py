"""Image networks: classification, segmentation, detection, restoration."""

import keras
import numpy as np
from keras import layers as kl
from keras import ops

from zoo.blocks import (
    CLASSES,
    ClassToken,
    Positions,
    Queries,
    Scale,
    conv,
    depthwise,
    head,
    image,
    inverted_residual,
    mlp,
    patches,
    residual,
    squeeze_excite,
    transformer,
)


def mnist_convnet():
    x = inputs = image(16, 1)
    for filters in (8, 16):
        x = kl.MaxPooling2D()(kl.Conv2D(filters, 3, activation="relu")(x))
    return keras.Model(inputs, kl.Dense(CLASSES, "softmax")(kl.Dropout(0.5)(kl.Flatten()(x))))


def resnet():
    """He et al. 2015."""
    inputs = image()
    x = residual(residual(conv(inputs, 8), 8), 16, 2)
    return keras.Model(inputs, head(residual(x, 16)))


def preactivated_resnet():
    """He et al. 2016: norms and activations before convolutions."""
    inputs = image()
    x = kl.Conv2D(8, 3, padding="same")(inputs)
    for _ in range(2):
        y = kl.ReLU()(kl.BatchNormalization()(x))
        y = kl.Conv2D(8, 3, padding="same")(
            kl.ReLU()(kl.BatchNormalization()(kl.Conv2D(8, 3, padding="same")(y)))
        )
        x = x + y
    return keras.Model(inputs, head(kl.ReLU()(kl.BatchNormalization()(x))))


def se_resnet():
    """Hu et al. 2017."""
    x = inputs = image()
    x = conv(x, 8)
    for _ in range(2):
        y = squeeze_excite(conv(conv(x, 8), 8, act=None))
        x = kl.ReLU()(kl.Add()([x, y]))
    return keras.Model(inputs, head(x))


def squeezenet():
    """Iandola et al. 2016: fire modules."""
    inputs = image()
    x = kl.Conv2D(8, 3, 2, "same", activation="relu")(inputs)
    for squeezed, widened in ((4, 8), (4, 12)):
        x = kl.Conv2D(squeezed, 1, activation="relu")(x)
        x = kl.Concatenate()(
            [kl.Conv2D(widened, size, padding="same", activation="relu")(x) for size in (1, 3)]
        )
    return keras.Model(inputs, kl.Softmax()(kl.GlobalAveragePooling2D()(kl.Conv2D(CLASSES, 1)(x))))


def densenet():
    """Huang et al. 2016."""
    x = inputs = image()
    x = kl.Conv2D(8, 3, padding="same")(x)
    for _ in range(3):
        y = kl.Conv2D(4, 3, padding="same")(kl.ReLU()(kl.BatchNormalization()(x)))
        x = kl.Concatenate()([x, y])
    return keras.Model(inputs, head(kl.AveragePooling2D(2)(x)))


def inception():
    """Szegedy et al. 2014."""
    inputs = image()
    x = conv(inputs, 8)
    pooled = conv(kl.MaxPooling2D(3, 1, "same")(x), 4, 1)
    branches = [conv(x, 4, 1), conv(conv(x, 4, 1), 8, 3), conv(conv(x, 4, 1), 4, 5), pooled]
    return keras.Model(inputs, head(kl.Concatenate()(branches)))


def mobilenet_v3():
    """Howard et al. 2019."""
    inputs = image()
    x = conv(inputs, 8, stride=2, act="hard_swish")
    x = inverted_residual(x, 8, act="relu", squeezed=True)
    x = inverted_residual(x, 12, stride=2, act="hard_swish", squeezed=True)
    x = inverted_residual(x, 12, act="hard_swish", squeezed=True)
    return keras.Model(inputs, head(conv(x, 24, 1, act="hard_swish")))


def mobilenet_v4():
    """Qin et al. 2024: universal inverted bottlenecks."""
    inputs = image()
    x = conv(inputs, 8, stride=2)
    for _ in range(2):
        y = conv(depthwise(x, 3, act=None), 24, 1)
        y = conv(depthwise(y, 5), 8, 1, act=None)
        x = kl.Add()([x, Scale()(y)])
    return keras.Model(inputs, head(x))


def efficientnet():
    """Tan and Le 2019."""
    x = inputs = image()
    x = conv(kl.Rescaling(1 / 255)(x), 8, stride=2, act="silu")
    x = inverted_residual(inverted_residual(x, 8, squeezed=True), 12, squeezed=True)
    return keras.Model(inputs, head(conv(x, 16, 1, act="silu")))


def shufflenet():
    """Zhang et al. 2017: grouped convolutions and shuffled channels."""
    inputs = image()
    x = conv(inputs, 8)
    for _ in range(2):
        y = conv(x, 8, 1, groups=2)
        y = kl.Reshape((16, 16, 2, 4))(y)
        y = kl.Reshape((16, 16, 8))(kl.Permute((1, 2, 4, 3))(y))
        y = conv(depthwise(y, act=None), 8, 1, act=None, groups=2)
        x = kl.ReLU()(kl.Add()([x, y]))
    return keras.Model(inputs, head(x))


def shufflenet_v2():
    """Ma et al. 2018: half of the channels pass through."""
    x = inputs = image()
    x = conv(x, 8)
    for _ in range(2):
        kept, changed = ops.split(x, 2, axis=-1)
        changed = conv(depthwise(conv(changed, 4, 1), act=None), 4, 1)
        x = ops.reshape(ops.stack([kept, changed], axis=-1), (-1, 16, 16, 8))
    return keras.Model(inputs, head(x))


def ghostnet():
    """Han et al. 2019: cheap features of features."""
    x = inputs = image()
    x = conv(x, 8)
    for width in (12, 16):
        first = conv(x, width // 2, 1)
        x = kl.Concatenate()([first, depthwise(first)])
    return keras.Model(inputs, head(x))


def convnext():
    """Liu et al. 2022."""
    inputs = image()
    x = kl.LayerNormalization(epsilon=1e-6)(kl.Conv2D(8, 4, 4)(inputs))
    for _ in range(2):
        y = kl.LayerNormalization(epsilon=1e-6)(kl.DepthwiseConv2D(7, padding="same")(x))
        x = kl.Add()([x, Scale()(mlp(y, 32))])
    return keras.Model(inputs, head(x))


def convmixer():
    """Trockman and Kolter 2022."""
    inputs = image()
    x = kl.BatchNormalization()(kl.Activation("gelu")(kl.Conv2D(8, 2, 2)(inputs)))
    for _ in range(2):
        y = kl.BatchNormalization()(kl.Activation("gelu")(kl.DepthwiseConv2D(5, padding="same")(x)))
        x = kl.Add()([y, x])
        x = kl.BatchNormalization()(kl.Activation("gelu")(kl.Conv2D(8, 1)(x)))
    return keras.Model(inputs, head(x))


def vit():
    """Dosovitskiy et al. 2020."""
    inputs = image()
    x = transformer(transformer(patches(inputs)))
    x = kl.Flatten()(kl.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(inputs, kl.Dense(CLASSES)(mlp(x, 32, 16)))


def vit_class_token():
    """The same with a token that gathers the class."""
    inputs = image()
    x = kl.Reshape((-1, 16))(kl.Conv2D(16, 4, 4)(inputs))
    x = transformer(Positions()(ClassToken()(x)))
    return keras.Model(inputs, kl.Dense(CLASSES)(kl.LayerNormalization()(x)[:, 0]))


def cct():
    """Hassani et al. 2021: convolutions before attention, and pooling over the sequence."""
    inputs = image()
    x = kl.MaxPooling2D(3, 2, "same")(kl.Conv2D(16, 3, padding="same", activation="relu")(inputs))
    x = transformer(Positions()(kl.Reshape((-1, 16))(x)))
    weights = ops.softmax(kl.Dense(1)(x), axis=1)
    pooled = ops.matmul(ops.transpose(weights, (0, 2, 1)), x)
    return keras.Model(inputs, kl.Dense(CLASSES)(ops.squeeze(pooled, 1)))


def mobilevit():
    """Mehta and Rastegari 2021: attention between the pixels at one place of all patches."""
    inputs = image()
    x = inverted_residual(conv(inputs, 8, stride=2, act="silu"), 8)
    y = kl.Conv2D(16, 1)(conv(x, 8, act="silu"))
    y = ops.reshape(y, (-1, 4, 2, 4, 2, 16))
    y = ops.reshape(ops.transpose(y, (0, 2, 4, 1, 3, 5)), (-1, 4, 16, 16))
    y = kl.LayerNormalization()(y + kl.MultiHeadAttention(2, 8, attention_axes=(2,))(y, y))
    y = ops.transpose(ops.reshape(y, (-1, 2, 2, 4, 4, 16)), (0, 3, 1, 4, 2, 5))
    y = conv(ops.reshape(y, (-1, 8, 8, 16)), 8, 1, act="silu")
    return keras.Model(inputs, head(conv(kl.Concatenate()([x, y]), 8, act="silu")))


def _windows(x, size, count):
    x = ops.reshape(x, (-1, count, size, count, size, x.shape[-1]))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, size * size, x.shape[-1]))


def swin():
    """Liu et al. 2021: attention within windows, shifted in every second block."""
    inputs = image()
    x = kl.LayerNormalization()(kl.Conv2D(16, 2, 2)(inputs))
    for shift in (0, 2):
        y = ops.roll(kl.LayerNormalization()(x), (-shift, -shift), (1, 2)) if shift else x
        y = _windows(y, 4, 2)
        y = kl.MultiHeadAttention(2, 8)(y, y)
        y = ops.transpose(ops.reshape(y, (-1, 2, 2, 4, 4, 16)), (0, 1, 3, 2, 4, 5))
        y = ops.reshape(y, (-1, 8, 8, 16))
        x = x + (ops.roll(y, (shift, shift), (1, 2)) if shift else y)
        x = x + mlp(kl.LayerNormalization()(x), 32)
    return keras.Model(inputs, head(x))


def mlp_mixer():
    """Tolstikhin et al. 2021."""
    inputs = image()
    x = patches(inputs)
    for _ in range(2):
        y = kl.Permute((2, 1))(kl.LayerNormalization()(x))
        x = x + kl.Permute((2, 1))(mlp(y, 32))
        x = x + mlp(kl.LayerNormalization()(x), 32)
    return keras.Model(inputs, head(x))


def gmlp():
    """Liu et al. 2021: a gate over places instead of attention."""
    inputs = image()
    x = patches(inputs)
    for _ in range(2):
        y = kl.Dense(32, "gelu")(kl.LayerNormalization()(x))
        u, v = ops.split(y, 2, axis=-1)
        v = kl.Permute((2, 1))(kl.LayerNormalization()(v))
        v = kl.Permute((2, 1))(kl.Dense(16, bias_initializer="ones")(v))
        x = x + kl.Dense(16)(u * v)
    return keras.Model(inputs, head(x))


def external_attention():
    """Guo et al. 2021: attention to a memory, normalized twice."""
    inputs = image()
    x = patches(inputs)
    y = kl.Reshape((16, 2, 8))(kl.Dense(16)(x))
    y = kl.Dense(8)(ops.transpose(y, (0, 2, 1, 3)))
    y = ops.softmax(y, axis=2)
    y = y / (1e-6 + ops.sum(y, axis=-1, keepdims=True))
    y = ops.reshape(ops.transpose(kl.Dense(8)(y), (0, 2, 1, 3)), (-1, 16, 16))
    return keras.Model(inputs, head(x + kl.Dense(16)(y)))


def token_learner():
    """Ryoo et al. 2021: a few tokens, each a weighted mean of places."""
    inputs = image()
    x = kl.Reshape((4, 4, 16))(patches(inputs))
    maps = kl.Conv2D(4, 1, activation="sigmoid")(conv(x, 8, act="gelu"))
    maps = kl.Permute((2, 1))(kl.Reshape((16, 4))(maps))
    tokens = ops.einsum("bsp,bpc->bsc", maps, kl.Reshape((16, 16))(x))
    return keras.Model(inputs, head(transformer(tokens)))


def poolformer():
    """Yu et al. 2021: pooling mixes places."""
    inputs = image()
    x = kl.Conv2D(16, 4, 4)(inputs)
    for _ in range(2):
        y = kl.GroupNormalization(1)(x)
        x = x + Scale()(kl.AveragePooling2D(3, 1, "same")(y) - y)
        x = x + Scale()(mlp(kl.GroupNormalization(1)(x), 32))
    return keras.Model(inputs, head(x))


def perceiver():
    """Jaegle et al. 2021: learned latents attend to the image."""
    inputs = image()
    x = patches(inputs)
    latents = Positions()(ops.repeat(ops.mean(x, axis=1, keepdims=True), 4, axis=1))
    latents = latents + kl.MultiHeadAttention(1, 16)(kl.LayerNormalization()(latents), x)
    return keras.Model(inputs, head(transformer(latents)))


def attention_modules():
    """Woo et al. 2018: gates over channels, then over places."""
    inputs = image()
    x = conv(inputs, 8)
    shared = keras.Sequential([kl.Dense(4, "relu"), kl.Dense(8)])
    average, largest = kl.GlobalAveragePooling2D()(x), kl.GlobalMaxPooling2D()(x)
    gate = kl.Activation("sigmoid")(kl.Add()([shared(average), shared(largest)]))
    x = kl.Multiply()([x, kl.Reshape((1, 1, 8))(gate)])
    both = [ops.mean(x, axis=-1, keepdims=True), ops.max(x, axis=-1, keepdims=True)]
    gate = kl.Conv2D(1, 7, padding="same", activation="sigmoid")(kl.Concatenate()(both))
    return keras.Model(inputs, head(x * gate))


def ghost_shrinkage():
    """Zhao et al. 2019: residual blocks with soft thresholds that they learn."""
    x = inputs = image()
    x = conv(x, 8)
    y = conv(conv(x, 8), 8, act=None)
    means = kl.GlobalAveragePooling2D(keepdims=True)(ops.abs(y))
    threshold = means * kl.Dense(8, "sigmoid")(kl.Dense(8, "relu")(means))
    y = ops.sign(y) * ops.maximum(ops.abs(y) - threshold, 0.0)
    return keras.Model(inputs, head(kl.Add()([x, y])))


def u_net():
    """Ronneberger et al. 2015."""
    x = inputs = image()
    fine = []
    for filters in (8, 12):
        x = conv(conv(x, filters), filters)
        fine.append(x)
        x = kl.MaxPooling2D()(x)
    x = conv(x, 16)
    for beside in reversed(fine):
        x = kl.Concatenate()([kl.Conv2DTranspose(8, 2, 2)(x), beside])
        x = conv(x, beside.shape[-1])
    return keras.Model(inputs, kl.Conv2D(CLASSES, 1, activation="softmax")(x))


def xception_u_net():
    """Segmentation with separable convolutions and residuals, as keras.io teaches it."""
    inputs = image()
    x = before = conv(inputs, 8, stride=2)
    for filters in (12, 16):
        x = kl.SeparableConv2D(filters, 3, padding="same")(kl.Activation("relu")(x))
        x = kl.MaxPooling2D(3, 2, "same")(kl.BatchNormalization()(x))
        x = before = kl.Add()([x, kl.Conv2D(filters, 1, 2, "same")(before)])
    for filters in (12, 8):
        x = kl.Conv2DTranspose(filters, 3, padding="same")(kl.Activation("relu")(x))
        x = kl.UpSampling2D()(kl.BatchNormalization()(x))
        before = kl.Conv2D(filters, 1, padding="same")(kl.UpSampling2D()(before))
        x = before = kl.Add()([x, before])
    return keras.Model(inputs, kl.Conv2D(3, 3, activation="softmax", padding="same")(x))


def deeplab():
    """Chen et al. 2018: dilated convolutions beside each other."""
    inputs = image()
    low = conv(inputs, 8, stride=2)
    x = conv(low, 12, stride=2)
    pooled = kl.AveragePooling2D((4, 4))(x)
    branches = [kl.UpSampling2D(4, interpolation="bilinear")(conv(pooled, 8, 1))]
    branches += [conv(x, 8, 3 if rate > 1 else 1, dilation_rate=rate) for rate in (1, 2, 3)]
    x = kl.UpSampling2D(2, interpolation="bilinear")(conv(kl.Concatenate()(branches), 8, 1))
    x = conv(kl.Concatenate()([x, conv(low, 4, 1)]), 8)
    x = kl.UpSampling2D(2, interpolation="bilinear")(x)
    return keras.Model(inputs, kl.Conv2D(CLASSES, 1)(x))


def pyramid_parsing():
    """Zhao et al. 2016: pooling at several sizes, resized to the image."""
    x = inputs = image()
    x = conv(x, 8)
    levels = [
        ops.image.resize(conv(kl.AveragePooling2D(size)(x), 4, 1), (16, 16)) for size in (2, 4, 8)
    ]
    return keras.Model(inputs, kl.Conv2D(CLASSES, 1)(conv(kl.Concatenate()([x, *levels]), 8)))


def segmentation_transformer():
    """Xie et al. 2021: attention to fewer places, and depthwise filters between dense layers."""
    inputs = image()
    x = kl.LayerNormalization()(kl.Reshape((16, 16))(kl.Conv2D(16, 7, 4, "same")(inputs)))
    h = kl.LayerNormalization()(x)
    fewer = kl.Reshape((4, 16))(kl.Conv2D(16, 2, 2)(kl.Reshape((4, 4, 16))(h)))
    x = x + kl.MultiHeadAttention(2, 8)(h, kl.LayerNormalization()(fewer))
    h = kl.Dense(32)(kl.LayerNormalization()(x))
    h = kl.DepthwiseConv2D(3, padding="same")(kl.Reshape((4, 4, 32))(h))
    x = x + kl.Dense(16)(ops.gelu(kl.Reshape((16, 32))(h)))
    x = ops.image.resize(kl.Reshape((4, 4, 16))(x), (16, 16))
    return keras.Model(inputs, kl.Conv2D(CLASSES, 1)(x))


def bisenet():
    """Yu et al. 2018: a wide path for places, a deep one for context."""
    inputs = image()
    wide = conv(conv(inputs, 8, stride=2), 8, stride=2)
    deep = conv(conv(wide, 12, stride=2), 12)
    deep = deep * kl.GlobalAveragePooling2D(keepdims=True)(conv(deep, 12, 1, act="sigmoid"))
    x = squeeze_excite(kl.Concatenate()([wide, kl.UpSampling2D()(deep)]))
    return keras.Model(inputs, kl.UpSampling2D(4, interpolation="bilinear")(kl.Conv2D(3, 1)(x)))


def hrnet():
    """Wang et al. 2019: resolutions beside each other that exchange what they have."""
    inputs = image()
    fine = conv(inputs, 8)
    coarse = conv(fine, 12, stride=2)
    fine, coarse = (
        kl.ReLU()(kl.Add()([residual(fine, 8), kl.UpSampling2D()(conv(coarse, 8, 1, act=None))])),
        kl.ReLU()(kl.Add()([residual(coarse, 12), conv(fine, 12, stride=2, act=None)])),
    )
    return keras.Model(inputs, kl.Conv2D(4, 1)(kl.Concatenate()([fine, kl.UpSampling2D()(coarse)])))


def retinanet():
    """Lin et al. 2017: a feature pyramid, and heads that all its levels share."""
    inputs = image(32)
    c3 = conv(conv(inputs, 8, stride=2), 12, stride=2)
    c4 = conv(c3, 16, stride=2)
    p4 = kl.Conv2D(8, 1)(c4)
    p3 = kl.Conv2D(8, 1)(c3) + kl.UpSampling2D()(p4)
    levels = [kl.Conv2D(8, 3, padding="same")(p) for p in (p3, p4)]

    def shared(filters):
        return keras.Sequential(
            [
                keras.Input((None, None, 8)),
                kl.Conv2D(8, 3, padding="same", activation="relu"),
                kl.Conv2D(filters, 3, padding="same"),
            ]
        )

    outputs = []
    for values, layers in ((4, shared(3 * 4)), (CLASSES, shared(3 * CLASSES))):
        flat = [kl.Reshape((-1, values))(layers(level)) for level in levels]
        outputs.append(kl.Concatenate(axis=1)(flat))
    return keras.Model(inputs, kl.Concatenate()(outputs))


def yolo():
    """Redmon et al. 2016, with the centres of Ge et al. 2021: boxes from two levels."""
    inputs = image(32)
    c3 = conv(conv(inputs, 8, stride=2, act="silu"), 12, stride=2, act="silu")
    c4 = conv(c3, 16, stride=2, act="silu")
    outputs = []
    for level in (c3, c4):
        x = conv(level, 8, act="silu")
        boxes, scores = kl.Conv2D(4, 1)(x), kl.Conv2D(CLASSES, 1, activation="sigmoid")(x)
        centres, sizes = ops.sigmoid(boxes[..., :2]), ops.exp(boxes[..., 2:])
        row = kl.Concatenate()([centres, sizes, scores])
        outputs.append(kl.Reshape((-1, 4 + CLASSES))(row))
    return keras.Model(inputs, kl.Concatenate(axis=1)(outputs))


def ssd():
    """Liu et al. 2015: boxes and classes as two outputs."""
    inputs = image(32)
    x, boxes, classes = conv(inputs, 8, stride=2, act="relu6"), [], []
    for filters in (12, 16):
        x = depthwise(conv(x, filters, 1, act="relu6"), stride=2, act="relu6")
        boxes.append(kl.Reshape((-1, 4))(kl.Conv2D(8, 3, padding="same")(x)))
        classes.append(kl.Reshape((-1, CLASSES))(kl.Conv2D(2 * CLASSES, 3, padding="same")(x)))
    outputs = {
        "boxes": kl.Concatenate(1, name="boxes")(boxes),
        "classes": kl.Activation("sigmoid", name="classes")(kl.Concatenate(1)(classes)),
    }
    return keras.Model(inputs, outputs)


def box_distributions():
    """Li et al. 2020, as in YOLOv8: each side of a box is the mean of a softmax."""
    inputs = image()
    x = conv(conv(inputs, 8, stride=2, act="silu"), 8, stride=2, act="silu")
    pooled = [x]
    for _ in range(3):
        pooled.append(kl.MaxPooling2D(5, 1, "same")(pooled[-1]))
    x = conv(kl.Concatenate()(pooled), 8, 1, act="silu")
    sides = ops.softmax(ops.reshape(kl.Conv2D(16, 1)(x), (-1, 16, 4, 4)))
    sides = ops.sum(sides * np.arange(4, dtype="float32"), axis=-1)
    places = np.arange(4, dtype="float32") + 0.5
    centres = np.stack(np.meshgrid(places, places), -1).reshape(1, 16, 2)
    first, last = ops.subtract(centres, sides[..., :2]), ops.add(centres, sides[..., 2:])
    boxes = ops.concatenate([(first + last) / 2, last - first], axis=-1) * 4.0
    classes = ops.sigmoid(kl.Reshape((16, CLASSES))(kl.Conv2D(CLASSES, 1)(x)))
    return keras.Model(inputs, ops.concatenate([boxes, classes], axis=-1))


def detection_transformer():
    """Carion et al. 2020: learned queries, each for one object, attend to the image."""
    inputs = image()
    x = conv(conv(inputs, 16, stride=2), 16, stride=2)
    x = transformer(Positions()(kl.Reshape((-1, 16))(x)), first=False)
    found = transformer(Queries(5)(x), first=False, memory=x)
    return keras.Model(inputs, [kl.Dense(CLASSES)(found), kl.Dense(4, "sigmoid")(found)])


def centre_points():
    """Zhou et al. 2019: a map of centres, their sizes and their offsets."""
    inputs = image()
    x = conv(conv(inputs, 8, stride=2), 12, stride=2)
    x = conv(kl.Conv2DTranspose(8, 4, 2, "same")(x), 8)
    outputs = [
        kl.Conv2D(filters, 1, name=name)(conv(x, 8))
        for name, filters in (("centres", CLASSES), ("sizes", 2), ("offsets", 2))
    ]
    return keras.Model(inputs, outputs)


def face_detector():
    """Bazarevsky et al. 2019: blocks of wide depthwise convolutions, padded shortcuts."""
    inputs = image(32)
    x = kl.Conv2D(8, 5, 2, "same", activation="relu")(inputs)
    for filters, stride in ((8, 1), (12, 2), (12, 1)):
        y = kl.Conv2D(filters, 1)(kl.DepthwiseConv2D(5, stride, "same")(x))
        if stride == 2:
            x = kl.MaxPooling2D()(x)
        if x.shape[-1] < filters:
            x = ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, filters - x.shape[-1])))
        x = kl.ReLU()(kl.Add()([x, y]))
    return keras.Model(
        inputs,
        kl.Concatenate()(
            [
                kl.Reshape((-1, 1))(kl.Conv2D(2, 3, padding="same")(x)),
                kl.Reshape((-1, 16))(kl.Conv2D(32, 3, padding="same")(x)),
            ]
        ),
    )


def keypoints():
    """Coordinates from the middle of heat maps."""
    inputs = image()
    x = kl.Conv2DTranspose(8, 4, 2, "same", activation="relu")(conv(inputs, 8, stride=4))
    maps = kl.Reshape((64, 4))(kl.Conv2D(4, 1)(x))
    maps = ops.softmax(maps, axis=1)
    places = keras.ops.convert_to_tensor([[i // 8 / 8, i % 8 / 8] for i in range(64)], "float32")
    return keras.Model(inputs, ops.einsum("bpk,pc->bkc", maps, places))


def keypoint_regression():
    """Separable convolutions that give coordinates, as keras.io teaches it."""
    inputs = image()
    x = kl.SeparableConv2D(8, 5, 2, activation="relu")(conv(inputs, 8, stride=2))
    x = kl.SeparableConv2D(8, 2, 1, activation="sigmoid")(kl.Dropout(0.3)(x))
    return keras.Model(inputs, x)


def espcn():
    """Shi et al. 2016: larger by moving channels to places."""
    x = inputs = image(8, 1)
    for filters, kernel in ((8, 5), (8, 3), (9, 3)):
        x = kl.Conv2D(filters, kernel, padding="same", activation="relu")(x)
    x = ops.reshape(x, (-1, 8, 8, 3, 3))
    x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4)), (-1, 24, 24, 1))
    return keras.Model(inputs, x)


def edsr():
    """Lim et al. 2017."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = first = kl.Conv2D(8, 3, padding="same")(kl.Rescaling(1 / 255)(inputs))
    for _ in range(2):
        y = kl.Conv2D(8, 3, padding="same", activation="relu")(x)
        x = kl.Add()([kl.Conv2D(8, 3, padding="same")(y) * 0.1, x])
    x = kl.Conv2DTranspose(8, 4, 2, "same")(kl.Add()([kl.Conv2D(8, 3, padding="same")(x), first]))
    return keras.Model(inputs, kl.Rescaling(255.0)(kl.Conv2D(3, 3, padding="same")(x)))


def zero_dce():
    """Guo et al. 2020: curves that brighten, applied again and again."""
    inputs = image()
    a = kl.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    b = kl.Conv2D(8, 3, padding="same", activation="relu")(a)
    c = kl.Conv2D(8, 3, padding="same", activation="relu")(kl.Concatenate()([a, b]))
    curves = kl.Conv2D(9, 3, padding="same", activation="tanh")(kl.Concatenate()([a, c]))
    x = inputs
    for index in range(3):
        x = x + curves[..., 3 * index : 3 * index + 3] * (ops.square(x) - x)
    return keras.Model(inputs, x)


def nafnet():
    """Chen et al. 2022: gates without activations."""
    inputs = image()
    x = kl.Conv2D(8, 3, padding="same")(inputs)
    y = kl.DepthwiseConv2D(3, padding="same")(kl.Conv2D(16, 1)(kl.LayerNormalization()(x)))
    left, right = ops.split(y, 2, axis=-1)
    y = left * right
    y = y * kl.Conv2D(8, 1)(ops.mean(y, axis=(1, 2), keepdims=True))
    x = x + Scale()(kl.Conv2D(8, 1)(y))
    left, right = ops.split(kl.Conv2D(16, 1)(kl.LayerNormalization()(x)), 2, axis=-1)
    x = x + Scale()(kl.Conv2D(8, 1)(left * right))
    return keras.Model(inputs, inputs + kl.Conv2D(3, 3, padding="same")(x))


def mirnet():
    """Zamir et al. 2020: resolutions joined by gates that compete."""
    inputs = image()
    fine = kl.Conv2D(8, 3, padding="same")(inputs)
    coarse = kl.UpSampling2D(interpolation="bilinear")(conv(kl.AveragePooling2D(2)(fine), 8))
    mean = kl.GlobalAveragePooling2D(keepdims=True)(fine + coarse)
    narrow = kl.PReLU(shared_axes=[1, 2])(kl.Conv2D(4, 1)(mean))
    gates = ops.softmax(ops.stack([kl.Conv2D(8, 1)(narrow) for _ in range(2)], axis=1), axis=1)
    x = fine * gates[:, 0] + coarse * gates[:, 1]
    return keras.Model(inputs, inputs + kl.Conv2D(3, 3, padding="same")(x))


def text_reader():
    """Shi et al. 2015: convolutions, then recurrence along the width."""
    inputs = keras.Input((12, 16, 1), name="image")
    x = kl.MaxPooling2D()(kl.Conv2D(8, 3, padding="same", activation="relu")(inputs))
    x = kl.Reshape((8, 48))(kl.Permute((2, 1, 3))(x))
    x = kl.Bidirectional(kl.LSTM(8, return_sequences=True))(kl.Dense(12, "relu")(x))
    return keras.Model(inputs, kl.Dense(11, "softmax")(x))


def learned_resizer():
    """Talebi and Milanfar 2021: a network before the network makes the image smaller."""
    inputs = image(24)
    small = kl.Resizing(16, 16, "bilinear")(inputs)
    x = kl.LeakyReLU(0.2)(kl.Conv2D(8, 5, padding="same")(inputs))
    x = kl.Resizing(16, 16, "bilinear")(x)
    x = kl.Add()([kl.Conv2D(3, 5, padding="same")(conv(x, 8, act="leaky_relu")), small])
    return keras.Model(inputs, head(conv(x, 8, stride=2)))


def denoiser():
    """An autoencoder of convolutions."""
    x = inputs = image()
    for filters in (8, 12):
        x = kl.MaxPooling2D()(kl.Conv2D(filters, 3, padding="same", activation="relu")(x))
    for filters in (12, 8):
        x = kl.Conv2DTranspose(filters, 3, 2, "same", activation="relu")(x)
    return keras.Model(inputs, kl.Conv2D(3, 3, padding="same", activation="sigmoid")(x))


def normalizer_free():
    """Brock et al. 2021: scaled activations instead of normalizations."""
    inputs = image()
    x = kl.Conv2D(8, 3, padding="same")(inputs)
    for beta in (1.0, 0.9):
        y = kl.Conv2D(8, 3, padding="same")(ops.gelu(x) * (1.7 / beta))
        x = x + 0.2 * squeeze_excite(kl.Conv2D(8, 1)(ops.gelu(y) * 1.7)) * 2.0
    return keras.Model(inputs, head(x))
