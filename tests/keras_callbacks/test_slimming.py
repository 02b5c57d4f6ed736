import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from keras_callbacks import NetworkSlimming


def make_model():
    model = keras.Sequential(
        [
            keras.Input((2,)),
            kl.Dense(4, use_bias=False, name="hidden"),
            kl.BatchNormalization(name="bn", gamma_regularizer="l2"),
            kl.Dense(1, use_bias=False, name="head"),
        ]
    )
    model.get_layer("hidden").kernel.assign([[1, 0, 1, 1], [0, 1, 1, -1]])
    # Two of the four channels reach the output.
    model.get_layer("head").kernel.assign([[1.0], [0.0], [-1.0], [0.0]])
    model.get_layer("head").trainable = False
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def data():
    x = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")
    return x, x @ np.float32([[0.5], [-1.0]])


def test_the_scales_of_idle_channels_vanish_and_their_channels_go():
    model = make_model()
    callback = NetworkSlimming(0.1)
    history = model.fit(*data(), batch_size=16, epochs=40, verbose=0, callbacks=[callback])
    scales = np.abs(model.get_layer("bn").gamma.numpy())
    # An idle scale has no other gradient: 160 steps of 0.1 * 0.1 pass its start at 1.
    assert (scales[[1, 3]] < 0.02).all()
    assert (scales[[0, 2]] > 0.1).all()
    assert len(history.history["small_scales"]) == 40
    smaller = tfc.remove_channels(model, ratio=0.5, criterion="gamma")
    kept = model.get_layer("hidden").kernel.numpy()[:, [0, 2]]
    np.testing.assert_array_equal(smaller.get_layer("hidden").kernel, kept)


def test_one_step_adds_just_the_strength():
    kernels = []
    for callbacks in ([], [NetworkSlimming(0.5)]):
        model = make_model()
        model.fit(*data(), batch_size=64, epochs=1, verbose=0, callbacks=callbacks)
        kernels.append(model.get_layer("bn").gamma.numpy())
    np.testing.assert_allclose(kernels[0] - kernels[1], 0.1 * 0.5, rtol=1e-5)


def test_leaves_the_users_regularizer():
    model = make_model()
    model.fit(*data(), verbose=0, callbacks=[NetworkSlimming()])
    assert isinstance(model.get_layer("bn").gamma.regularizer, keras.regularizers.L2)


def test_refuses_what_cannot_be():
    with pytest.raises(ValueError, match="strength=0"):
        NetworkSlimming(0)
    with pytest.raises(ValueError, match="no BatchNormalization"):
        make_model().fit(*data(), verbose=0, callbacks=[NetworkSlimming(layers="head")])
