"""Callbacks can be copied, before a training and after one: a copy begins anew."""

import copy
import pickle

import keras
import numpy as np
import pytest

import keras_callbacks as kc
from tfcompress.pruning import ConstantSparsity, PolynomialDecay

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 16)
RAMP = PolynomialDecay(0.0, 0.75, 0, 8)

CALLBACKS = {
    "MagnitudePruning": lambda: kc.MagnitudePruning(RAMP, layers="body", pattern="2:4"),
    "IterativeHardThresholding": lambda: kc.IterativeHardThresholding(RAMP),
    "ProximalL1": lambda: kc.ProximalL1(RAMP, gain=3.0),
    "SparsityRegularization": lambda: kc.SparsityRegularization(RAMP, groups="channel"),
    "RigL": lambda: kc.RigL(0.5, end_step=8),
    "SET": lambda: kc.SET(0.5, end_step=8, seed=3),
    "NetworkSlimming": lambda: kc.NetworkSlimming(1e-3),
    "CompressionSummary": lambda: kc.CompressionSummary(layers="body"),
    "QuantizationSchedule": lambda: kc.QuantizationSchedule(1, 2),
    "DeployedAccuracy": lambda: kc.DeployedAccuracy((X, Y), every=3),
}


def make_model():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, name="body"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(3, name="head"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=False)
    return model


def pickled(callback):
    return pickle.loads(pickle.dumps(callback))


def test_every_callback_is_tried():
    assert set(CALLBACKS) == set(kc.__all__)


@pytest.mark.parametrize("name", CALLBACKS)
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled])
def test_copies(name, duplicate):
    callback = CALLBACKS[name]()
    twin = duplicate(callback)
    assert type(twin) is type(callback)
    for attribute in ("layers", "schedule", "pattern", "every", "freeze_ranges_step", "seed"):
        assert getattr(twin, attribute, None) == getattr(callback, attribute, None)


@pytest.mark.parametrize(
    ("callback", "zeros"), [(kc.MagnitudePruning(RAMP), 54), (kc.RigL(0.5, end_step=8), 36)]
)
def test_a_copy_of_a_trained_one_begins_anew(callback, zeros):
    for one in (callback, copy.deepcopy(callback)):
        keras.utils.set_random_seed(0)
        model = make_model()
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[one])
        kernels = [model.get_layer(name).kernel.numpy() for name in ("body", "head")]
        assert sum(np.count_nonzero(kernel == 0) for kernel in kernels) == zeros
        assert one.model is model
        assert copy.deepcopy(one).model is None


def test_a_function_as_selector_is_copied():
    pruning = kc.MagnitudePruning(
        ConstantSparsity(0.5, 0), layers=lambda layer: layer.name == "body"
    )
    model = make_model()
    model.fit(X, Y, verbose=0, callbacks=[copy.deepcopy(pruning)])
    assert np.count_nonzero(model.get_layer("body").kernel.numpy() == 0) == 24
