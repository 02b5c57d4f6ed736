import keras
import numpy as np
import pytest
from keras import layers as kl

from tfcompress.post_training.batch_normalization import fold_batch_normalization
from tfcompress.post_training.scaling_sets import find_scaling_sets


def linked(*layers, shape=(10, 10, 3)):
    return find_scaling_sets(keras.Sequential([keras.Input(shape), *layers]))


def test_sets_of_a_chain(mobile_net):
    sets, left = find_scaling_sets(fold_batch_normalization(mobile_net()))
    assert [str(found) for found in sets] == [
        "conv_0 to depthwise_0",
        "depthwise_0 to conv_1",
        "conv_1 to depthwise_1",
        "depthwise_1 to head",
    ]
    assert left == {"head": "its channels are an output of the model"}
    assert all(np.isinf(found.cap) for found in sets)


def test_flattened_channels_are_followed():
    (found,), _ = linked(kl.Conv2D(2, 9, name="conv"), kl.Flatten(), kl.Dense(1, name="head"))
    assert found.consumers[0].channels.tolist() == [0, 1] * 4


@pytest.mark.parametrize(
    ("between", "cap"),
    [
        (lambda: kl.ReLU(6.0), 6.0),
        (lambda: kl.Activation("relu6"), 6.0),
        (lambda: kl.ReLU(2.0), 2.0),
        (lambda: kl.ReLU(negative_slope=0.1), np.inf),
        (kl.LeakyReLU, np.inf),
        (kl.PReLU, np.inf),
        (kl.MaxPooling2D, np.inf),
        (lambda: kl.Dropout(0.5), np.inf),
        (lambda: kl.UpSampling2D(interpolation="bilinear"), np.inf),
    ],
)
def test_what_a_scale_passes(between, cap):
    (found,), _ = linked(kl.Conv2D(4, 3), between(), kl.Conv2D(4, 3))
    assert found.cap == cap


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (
            lambda: kl.Activation("sigmoid"),
            "scales do not pass through the activation 'sigmoid' of 'between'",
        ),
        (lambda: kl.ReLU(threshold=0.5), r"scales do not pass through 'between' \(ReLU\)"),
        (
            kl.BatchNormalization,
            r"scales do not pass through 'between' \(BatchNormalization\)",
        ),
        (lambda: kl.Reshape((128, 2)), "'between' splits its channels"),
        (
            lambda: kl.GlobalMaxPooling2D(data_format="channels_first"),
            "channels of 'between' are not on",
        ),
    ],
)
def test_what_it_does_not_pass(between, reason):
    between = between()
    between.name = "between"
    sets, left = linked(kl.Conv2D(4, 3, name="maker"), between, kl.Dense(4, name="reader"))
    assert not sets
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(left["maker"])


def test_several_readers_and_operations():
    inputs = keras.Input((10, 10, 3))
    x = keras.ops.relu6(kl.Conv2D(4, 3, name="maker")(inputs))
    branches = [kl.Conv2D(4, 1, name="one")(x), kl.DepthwiseConv2D(1, name="other")(x)]
    model = keras.Model(inputs, kl.Add(name="add")(branches))
    (found,), left = find_scaling_sets(model)
    assert str(found) == "maker to one, other"
    assert found.cap == 6.0
    assert left["one"] == "scales do not pass through 'add' (Add)"


def test_layers_that_are_called_twice_and_outputs_are_left():
    inputs = keras.Input((6,))
    twice = kl.Dense(6, name="twice")
    hidden = kl.Dense(6, name="hidden")(twice(twice(inputs)))
    model = keras.Model(inputs, [kl.Dense(2, name="head")(hidden), hidden])
    sets, left = find_scaling_sets(model)
    assert not sets
    assert left["twice"] == "it is called several times"
    assert left["hidden"] == "its channels are an output of the model"


def test_nested_models_are_looked_into():
    inner = keras.Sequential(
        [keras.Input((4,)), kl.ReLU(), kl.Dense(3, name="inside")], name="inner"
    )
    model = keras.Sequential([keras.Input((5,)), kl.Dense(4, name="outside"), inner])
    (found,), left = find_scaling_sets(model)
    assert str(found) == "outside to inner/inside"
    assert left == {"inner/inside": "its channels are an output of the model"}
