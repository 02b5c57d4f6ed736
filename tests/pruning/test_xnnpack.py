import re

import keras
import pytest
from keras import layers as kl

from tfcompress.pruning import xnnpack_policy


def stem(x, size=8):
    x = kl.ZeroPadding2D(1, name="pad")(x)
    return kl.Conv2D(size, 3, 2, padding="valid", use_bias=False, name="stem")(x)


def block(x, name, size=8, stride=1, **depthwise):
    if stride == 2:
        x = kl.ZeroPadding2D(1)(x)
        depthwise = {"padding": "valid", **depthwise}
    depthwise = {"kernel_size": 3, "padding": "same", **depthwise}
    x = kl.DepthwiseConv2D(strides=stride, name=f"{name}_depthwise", **depthwise)(x)
    x = kl.BatchNormalization()(x)
    x = kl.ReLU(6)(x)
    return kl.Conv2D(size, 1, activation="relu", name=f"{name}_pointwise")(x)


def classifier(body, size=32):
    inputs = keras.Input((size, size, 3))
    x = kl.GlobalAveragePooling2D(name="average")(body(inputs))
    return keras.Model(inputs, kl.Dense(4, name="head")(x))


def test_selects_the_pointwise_convolutions_and_explains_the_rest():
    model = classifier(lambda x: block(block(stem(x), "first"), "second", stride=2))
    policy = xnnpack_policy(model, 0.8)
    assert policy.selected == ("first_pointwise", "second_pointwise")
    assert set(policy.left) == {"stem", "first_depthwise", "second_depthwise", "head"}
    assert all("not a 1x1 convolution" in reason for reason in policy.left.values())


def test_residuals_and_squeeze_and_excitation():
    def body(x):
        x = block(stem(x), "first")
        gate = kl.GlobalAveragePooling2D(keepdims=True)(x)
        gate = kl.Conv2D(8, 1, activation="sigmoid", name="gate")(gate)
        x = kl.Multiply()([x, gate])
        return kl.Add()([x, block(x, "second")])

    selected = xnnpack_policy(classifier(body), 0.7).selected
    assert selected == ("first_pointwise", "gate", "second_pointwise")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            lambda x: block(kl.MaxPooling2D(name="pool")(stem(x)), "first"),
            "'pool', before the global average pooling, is of type MaxPooling2D",
        ),
        (
            lambda x: block(stem(x), "first", kernel_size=7),
            "'first_depthwise', before .* other than 3x3 or 5x5",
        ),
        (
            lambda x: block(kl.Conv2D(8, 1, activation="tanh", name="curve")(stem(x)), "first"),
            "'curve', .* followed by tanh",
        ),
        (
            # An even size, a stride of 2 and "same": rows are padded at the bottom alone.
            lambda x: kl.Conv2D(8, 1, name="first_pointwise")(
                kl.DepthwiseConv2D(3, 2, padding="same", name="lopsided")(stem(x))
            ),
            r"'lopsided', .* put ZeroPadding2D\(1\) before it",
        ),
        (
            lambda x: block(kl.Conv2D(8, 3, 2, padding="same", name="stem")(x), "first"),
            "not between a 3x3 convolution of stride 2, padding 1",
        ),
    ],
)
def test_one_obstacle_keeps_all_dense(body, reason):
    policy = xnnpack_policy(classifier(body), 0.8)
    assert policy.selected == ()
    assert re.search(reason, policy.left["first_pointwise"]), policy.left["first_pointwise"]


def test_same_padding_is_even_where_the_size_is_odd():
    def body(x):
        return block(kl.Conv2D(8, 3, 2, padding="same", name="stem")(x), "first")

    assert xnnpack_policy(classifier(body, size=33), 0.8).selected == ("first_pointwise",)


def test_a_convolutional_head_keeps_all_dense():
    inputs = keras.Input((32, 32, 3))
    x = kl.GlobalAveragePooling2D(keepdims=True)(block(stem(inputs), "first"))
    model = keras.Model(inputs, kl.Flatten()(kl.Conv2D(4, 1, name="head")(x)))
    policy = xnnpack_policy(model, 0.8)
    assert policy.selected == ()
    assert "Flatten" in policy.left["first_pointwise"]


@pytest.mark.parametrize(("size", "selected"), [(97, 34), (96, 0)])
def test_mobilenet_v2_pads_evenly_at_odd_sizes_alone(size, selected):
    model = keras.applications.MobileNetV2((size, size, 3), alpha=0.35, weights=None, classes=10)
    policy = xnnpack_policy(model, 0.8)
    assert len(policy.selected) == selected


def test_refuses_what_cannot_be():
    model = classifier(stem)
    with pytest.raises(ValueError, match=r"sparsity=0\.5"):
        xnnpack_policy(model, 0.5)

    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(TypeError, match="type Subclassed"):
        xnnpack_policy(Subclassed(), 0.8)
