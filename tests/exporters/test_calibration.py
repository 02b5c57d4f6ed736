"""Ranges that are observed in a float file."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from exporters import load
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


@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_the_batch_of_the_file_changes_no_range(batch_size):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((12,)), kl.Dense(8, activation="relu"), kl.Dense(3)])
    data = np.random.default_rng(0).normal(size=(64, 12)).astype("float32")
    _, expected = outputs(model, data)
    _, found = outputs(model, data, batch_size=batch_size)
    np.testing.assert_array_equal(found, expected)
