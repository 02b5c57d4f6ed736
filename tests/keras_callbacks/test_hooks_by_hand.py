"""Callbacks in training loops of one's own: they work, or say which call is missing."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_callbacks import (
    SET,
    CompressionSummary,
    IterativeHardThresholding,
    MagnitudePruning,
    NetworkSlimming,
    ProximalL1,
    QuantizationSchedule,
)
from tfcompress.pruning import ConstantSparsity, PolynomialDecay

HALF = ConstantSparsity(0.5, 0, frequency=1)


def train(callback, hooks=("on_epoch_begin", "on_train_batch_begin", "on_train_batch_end")):
    """Train four steps in two epochs, calling some hooks; return the share of zeros."""
    x = np.random.default_rng(0).normal(size=(16, 10)).astype("float32")
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(4)])
    optimizer = model.optimizer = keras.optimizers.Adam()
    variables = model.trainable_variables
    callback.set_model(model)
    callback.on_train_begin()
    for epoch in range(2):
        if "on_epoch_begin" in hooks:
            callback.on_epoch_begin(epoch)
        for _ in range(2):
            if "on_train_batch_begin" in hooks:
                callback.on_train_batch_begin(-1)
            with tf.GradientTape() as tape:
                loss = keras.ops.mean(model(x, training=True) ** 2)
            optimizer.apply(tape.gradient(loss, variables), variables)
            if "on_train_batch_end" in hooks:
                callback.on_train_batch_end(-1)
        callback.on_epoch_end(epoch)
    callback.on_train_end()
    return float(np.mean(model.layers[0].kernel.numpy() == 0))


@pytest.mark.parametrize(
    "hooks",
    [
        ("on_epoch_begin", "on_train_batch_begin", "on_train_batch_end"),
        ("on_train_batch_begin",),  # as in TFMOT's guide
        ("on_train_batch_end",),
        (),
    ],
)
def test_prunes_in_a_loop_by_hand(hooks):
    assert train(MagnitudePruning(HALF), hooks) == 0.5


def test_ends_at_the_sparsity_of_the_last_step():
    with pytest.warns(UserWarning, match=r"ends at step 4, at a sparsity of 0\.2 instead of 0\.5"):
        assert train(MagnitudePruning(PolynomialDecay(0.0, 0.5, 0, 10, power=1))) == 0.2


def test_learns_the_length_of_the_loop_from_its_parameters():
    callback = MagnitudePruning(PolynomialDecay(0.0, 0.75, 0))
    with pytest.raises(ValueError, match=r"set_params\(\{'epochs': \.\.\., 'steps': \.\.\.\}\)"):
        train(callback)
    callback = MagnitudePruning(PolynomialDecay(0.0, 0.75, 0))
    callback.set_params({"epochs": 2, "steps": 2})
    assert train(callback) == 0.75


@pytest.mark.parametrize(
    "callback",
    [
        IterativeHardThresholding(HALF),
        ProximalL1(ConstantSparsity(0.5, 0, end_step=3)),
        SET(0.5, end_step=3),
    ],
)
def test_the_other_ways_to_sparsity_run_by_hand(callback):
    assert train(callback) == 0.5


def test_says_that_there_is_no_optimizer():
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(4)], name="mine")
    callback = MagnitudePruning(HALF)
    callback.set_model(model)
    with pytest.raises(ValueError, match=r"'mine' is not compiled.*`model\.optimizer = optimizer`"):
        callback.on_train_begin()


CALLBACKS = [
    MagnitudePruning(HALF),
    NetworkSlimming(),
    CompressionSummary(),
    QuantizationSchedule(),
]


@pytest.mark.parametrize("callback", CALLBACKS)
def test_says_that_there_is_no_model(callback):
    with pytest.raises(RuntimeError, match=rf"{type(callback).__name__} has no model.*set_model"):
        callback.on_train_begin()


@pytest.mark.parametrize("callback", CALLBACKS)
def test_says_that_the_training_has_not_begun(callback):
    callback.set_model(keras.Sequential([keras.Input((10,)), keras.layers.Dense(4)]))
    hook = callback.on_epoch_end
    if isinstance(callback, QuantizationSchedule):
        hook = callback.on_train_batch_begin
    with pytest.raises(RuntimeError, match=r"before the training began.*`on_train_begin"):
        hook(0, {})
