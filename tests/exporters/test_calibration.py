"""Ranges that are observed in a float file."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import load
from exporters.calibration import RepresentativeData
from exporters.converting import convert_model


def outputs(model, data, **settings):
    """Return what Keras computes and what an int8 file does."""
    file = convert_model(model, "int8", representative_data=data, **settings).flatbuffer
    with load(file) as loaded:
        return model(data).numpy(), loaded.predict(data)[0]


def decibels(expected, found):
    return 10 * np.log10(np.var(expected) / np.mean((expected - found) ** 2))


def test_parts_of_a_concatenation_are_equally_right():
    """One of them is flipped, so that the file has it from another tensor."""
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, kl.Concatenate()([x * 3.0, keras.ops.flip(x, axis=2)]))
    data = np.random.default_rng(0).normal(size=(64, 8, 8, 3)).astype("float32")
    expected, found = outputs(model, data)
    parts = [decibels(expected[..., part], found[..., part]) for part in np.split(np.arange(6), 2)]
    assert min(parts) > 30
    assert abs(parts[0] - parts[1]) < 3


def scaling_net():
    layers = [keras.Input((4, 4, 3), name="image"), kl.RandomFlip(), kl.Rescaling(1 / 127.5, -1)]
    return keras.Sequential([*layers, kl.Flatten(), kl.Dense(2)])


def test_pixels_that_are_scaled_twice_are_told():
    pixels = np.random.default_rng(0).uniform(0, 255, (8, 4, 4, 3)).astype("float32")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        RepresentativeData(scaling_net(), pixels)
        RepresentativeData(keras.Sequential([keras.Input((4,)), kl.Dense(2)]), np.ones((2, 4)))
        quantized = tfc.quantize_aware(scaling_net()).calibrate(pixels)
    with pytest.warns(UserWarning, match=r"no value beyond 1, and layer 'rescaling.*by 0\.00784"):
        RepresentativeData(scaling_net(), np.ones((2, 4, 4, 3)))
    with pytest.warns(UserWarning, match="data of `calibrate` has no value"):
        quantized.calibrate(pixels / 255)


@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_the_batch_of_the_file_changes_no_range(batch_size):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((12,)), kl.Dense(8, activation="relu"), kl.Dense(3)])
    data = np.random.default_rng(0).normal(size=(64, 12)).astype("float32")
    _, expected = outputs(model, data)
    _, found = outputs(model, data, batch_size=batch_size)
    np.testing.assert_array_equal(found, expected)
