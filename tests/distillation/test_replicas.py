import contextlib

import keras
import numpy as np
import pytest
from keras import layers

import tfcompress as tfc


def net(width, name):
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(width, name="hidden"), layers.Dense(3, name="head")],
        name=name,
    )


def trained(scope):
    """Distil in a scope; return the history and the student's weights."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 4)).astype("float32"), rng.integers(0, 3, 16)
    keras.utils.set_random_seed(5)
    with scope:
        student = net(5, "student")
        losses = [
            tfc.SoftLabels(),
            tfc.Features("hidden", "hidden", seed=1),
            keras.distillation.LogitsDistillation(),
        ]
        distiller = tfc.Distiller(student, net(8, "teacher"), losses)
        task = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        distiller.compile(keras.optimizers.SGD(0.1), task)
    weights = np.linspace(0, 1, 16)
    history = distiller.fit(
        x, y, batch_size=8, epochs=3, shuffle=False, verbose=0, sample_weight=weights
    ).history
    return history, student.get_weights()


def test_two_replicas_train_as_one(two_replicas):
    one, alone = trained(contextlib.nullcontext())
    two, mirrored = trained(two_replicas.scope())
    assert one.keys() == two.keys()
    for name, values in one.items():
        assert two[name] == pytest.approx(values, rel=1e-4), name
    for expected, found in zip(alone, mirrored, strict=True):
        np.testing.assert_allclose(expected, found, rtol=1e-3, atol=1e-5)
