"""Data and weights of any size are quantized alike: raw counts, SI units, money."""

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters.converting import convert_model
from exporters.running.runtime import load
from tfcompress.tflite.numerics import sqnr

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(32, 8, 8, 2)).astype("float32")


def normalized_net(x):
    """Make a net whose normalization brings inputs to a deviation of 1, with data to match it."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(x.shape[1:])
    convolution, normalization = kl.Conv2D(8, 3, use_bias=False), kl.BatchNormalization()
    y = kl.ReLU()(normalization(convolution(inputs)))
    model = keras.Model(inputs, kl.Dense(3)(kl.GlobalAveragePooling2D()(y)))
    made = np.asarray(convolution(x))
    normalization.moving_mean.assign(made.mean((0, 1, 2)))
    normalization.moving_variance.assign(made.var((0, 1, 2)))
    # Without an epsilon, which small variances would vanish in.
    normalization.epsilon = 0.0
    return model


def of_file(converted, x):
    with load(converted.flatbuffer) as loaded:
        return loaded.predict(x)[0]


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e8])
def test_inputs_of_any_size(size):
    x = np.float32(size) * IMAGES
    model = normalized_net(x)
    expected = model.predict(x, verbose=0)
    assert sqnr(expected, of_file(convert_model(model, "int8", representative_data=x), x)) > 35
    aware = tfc.quantize_aware(model).calibrate(x)
    found = aware.predict(x, verbose=0)
    assert sqnr(expected, found) > 35
    np.testing.assert_array_equal(of_file(convert_model(aware), x), found)


@pytest.mark.parametrize("size", [1e-9, 3e7])
def test_outputs_of_any_size(size):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(IMAGES.shape[1:])
    x = kl.Conv2D(8, 3, activation="relu")(inputs)
    model = keras.Model(inputs, kl.Rescaling(size)(kl.Dense(3)(kl.Flatten()(x))))
    expected = model.predict(IMAGES, verbose=0)
    assert expected.min() < 0 < expected.max()
    file = convert_model(model, "int8", representative_data=IMAGES)
    assert sqnr(expected, of_file(file, IMAGES)) > 30


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
def test_a_bias_beside_next_to_nothing_is_kept(scheme):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(IMAGES.shape[1:])
    tiny, layer = kl.Rescaling(1e-11), kl.Conv2D(3, 3, activation="relu")
    model = keras.Model(inputs, kl.Conv2D(2, 1)(layer(tiny(inputs))))
    kernel, _ = layer.get_weights()
    layer.set_weights([kernel * [1.0, 1e-9, 1e3], np.float32([0.7, 0.2, -0.1])])
    expected = model.predict(IMAGES, verbose=0)
    found = of_file(convert_model(model, scheme, representative_data=IMAGES), IMAGES)
    np.testing.assert_allclose(found, expected, atol=0.01)
    if scheme == "int8":
        aware = tfc.quantize_aware(model).calibrate(IMAGES)
        np.testing.assert_array_equal(of_file(convert_model(aware), IMAGES), aware(IMAGES))
        np.testing.assert_allclose(aware(IMAGES), expected, atol=0.01)


def test_differences_of_next_to_nothing_run():
    inputs = keras.Input((4,))
    x = kl.Dense(4, kernel_initializer="identity")(inputs)
    difference = kl.Subtract()([x, kl.Rescaling(1 - 1e-6)(x)])
    model = keras.Model(inputs, kl.Dense(2)(kl.Add()([difference, difference])))
    data = RANDOM.normal(size=(16, 4)).astype("float32")
    for file in (
        convert_model(model, "int8", representative_data=data),
        convert_model(tfc.quantize_aware(model).calibrate(data)),
    ):
        assert np.abs(of_file(file, data)).max() < 1e-4
