"""Trainings on two logical devices: replicas agree, and with what one device comes to."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_trainings import TECHNIQUES, data, prepare


def train(technique, folder, strategy):
    """Train under a strategy; return the model, and its losses in the first epoch and after all."""
    folder.mkdir()
    with strategy.scope():
        model, fed, callbacks = prepare(technique, folder)
        model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    history = model.fit(**fed, epochs=8, verbose=0, callbacks=callbacks).history
    return model, history["loss"][0], loss_of(model)


def loss_of(model):
    x, y = data()
    return float(np.mean(np.square(np.asarray(model(x, training=False)) - y)))


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_replicas_agree_with_each_other_and_with_one_device(technique, tmp_path, two_replicas):
    _, begun, alone = train(technique, tmp_path / "one", tf.distribute.get_strategy())
    model, _, together = train(technique, tmp_path / "two", two_replicas)
    mirrored = [variable.value for variable in model.variables]
    copies = [two_replicas.experimental_local_results(value) for value in mirrored]
    assert {len(values) for values in copies} == {2}
    for first, second in copies:
        np.testing.assert_array_equal(first, second)
    assert together == pytest.approx(alone, abs=0.02 * begun)
    assert together < 0.8 * begun
