import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from tfcompress.keras_graph.channels import read_channels

FIT = {"epochs": 2, "batch_size": 16, "verbose": 0, "shuffle": False}


def make_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            kl.Dense(32, activation="relu", name="a"),
            kl.Dense(32, activation="relu", name="b"),
            kl.Dense(2, name="head"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    return model


def data():
    x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    return x, x[:, :2] * x[:, 2:4]


def prune(folder, model=None, rounds=3, **how):
    done = []
    how = {"target_macs": 0.25, "fit": FIT, **how}
    smaller = tfc.prune_iteratively(
        model or make_model(), *data(), rounds=rounds, folder=folder, progress=done.append, **how
    )
    return smaller, done


def test_each_round_comes_down_by_the_same_factor(tmp_path):
    model = make_model()
    before = model.get_weights()
    smaller, done = prune(tmp_path, model)
    whole = read_channels(model).macs()
    assert whole == 6 * 32 + 32 * 32 + 32 * 2
    for number, row in enumerate(done, 1):
        limit = whole * 0.25 ** (number / 3)
        assert 0.85 * limit < row.macs <= limit
    assert read_channels(smaller).macs() == done[-1].macs
    assert smaller.optimizer.iterations == 8  # 2 epochs of 4 steps, anew in each round
    assert set(done[-1].logs) == {"loss", "mae"}
    assert str(done[-1]).startswith("Round 3/3: ")
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


class Interrupted(Exception):
    pass


class InterruptAt(keras.callbacks.Callback):
    """Interrupt the fine-tuning of a model with fewer parameters than these."""

    def __init__(self, parameters):
        super().__init__()
        self.parameters = parameters

    def on_train_batch_end(self, batch, logs=None):
        if self.model.count_params() < self.parameters:
            raise Interrupted


def test_goes_on_after_the_last_finished_round(tmp_path):
    expected, whole = prune(tmp_path / "whole")
    limit = whole[1].parameters + 1
    with pytest.raises(Interrupted):
        prune(tmp_path / "cut", fit={**FIT, "callbacks": [InterruptAt(limit)]})
    smaller, done = prune(tmp_path / "cut")
    assert [row.number for row in done] == [2, 3]
    for one, other in zip(expected.get_weights(), smaller.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    again, done = prune(tmp_path / "cut")
    assert done == []
    np.testing.assert_array_equal(again.get_weights()[0], smaller.get_weights()[0])


def test_own_settings_and_removal_arguments(tmp_path):
    compiled = []

    def compile(model):
        compiled.append(model)
        model.compile("sgd", "mae")

    smaller, _ = prune(
        tmp_path, rounds=1, target_macs=None, target_size=0.5, compile=compile, layers="^b$"
    )
    assert [layer.units for layer in smaller.layers] == [32, 12, 2]
    assert compiled == [smaller]


def test_refuses_what_cannot_be(tmp_path):
    with pytest.raises(ValueError, match="one of target_macs, target_size"):
        prune(tmp_path, target_size=0.5)
    with pytest.raises(ValueError, match="rounds=0"):
        prune(tmp_path, rounds=0)
    with pytest.raises(ValueError, match="target_macs=-1"):
        prune(tmp_path, target_macs=-1)
    model = keras.Sequential([keras.Input((6,)), kl.Dense(4), kl.Dense(2)])
    with pytest.raises(ValueError, match="not compiled"):
        prune(tmp_path, model)
    prune(tmp_path, rounds=1)
    with pytest.raises(ValueError, match="another model or target"):
        prune(tmp_path, rounds=2)
