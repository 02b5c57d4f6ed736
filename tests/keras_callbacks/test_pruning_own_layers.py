"""What is not pruned is said, and counts in the logs."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from keras_callbacks import CompressionSummary, MagnitudePruning, SparsityRegularization
from tfcompress.pruning import ConstantSparsity, MaskConstraint, PolynomialDecay

X = np.random.default_rng(0).normal(size=(32, 6, 4)).astype("float32")
Y = np.random.default_rng(1).integers(0, 5, 32)
HALF = ConstantSparsity(0.5, 0)


class Mix(kl.Layer):
    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 8), name="w")
        self.position = self.add_weight(shape=(shape[1], 8), name="position")

    def call(self, x):
        return x @ self.w + self.position


def make_model():
    model = keras.Sequential(
        [
            keras.Input((6, 4)),
            Mix(name="mix"),
            kl.GlobalAveragePooling1D(),
            kl.Dense(8, name="body"),
            kl.Dense(5, name="head"),
            kl.Activation("linear"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=False)
    return model


def fit(model, *callbacks, epochs=2):
    return model.fit(X, Y, batch_size=8, epochs=epochs, verbose=0, callbacks=list(callbacks))


def zeros(model):
    mix = model.get_layer("mix")
    weights = [mix.w, mix.position, *(model.get_layer(name).kernel for name in ("body", "head"))]
    return [int(np.count_nonzero(weight.numpy() == 0)) for weight in weights]


def test_a_matrix_of_ones_own_is_pruned_and_a_table_is_named_once():
    model = make_model()
    pruning = MagnitudePruning(PolynomialDecay(0.0, 0.75, 0, 8), sparsity_distribution="uniform")
    said = r"MagnitudePruning does not prune 'mix/position' \(applied to the data by AddV2\)\.$"
    with pytest.warns(UserWarning, match=said):
        history = fit(model, pruning, CompressionSummary()).history
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*does not prune")
        fit(model, pruning)
    assert zeros(model) == [24, 0, 48, 30]
    assert history["sparsity"][-1] == history["sparsity/mix/w"][-1] == 0.75
    assert history["sparsity/all"][-1] == 0.75
    tfc.remove_masks(model)
    assert not any(isinstance(weight.constraint, MaskConstraint) for weight in model.weights)


def test_the_log_counts_what_layers_leaves_out():
    model = make_model()
    history = fit(model, MagnitudePruning(HALF, layers="body"), CompressionSummary()).history
    assert zeros(model) == [0, 0, 32, 0]
    # 32 of the 32 + 64 + 40 weights of w, body and head.
    assert history["sparsity"][-1] == history["sparsity/all"][-1] == pytest.approx(32 / 136)


def test_the_logs_of_two_callbacks_are_one_number():
    model = make_model()
    callbacks = [
        MagnitudePruning(HALF, layers="body"),
        MagnitudePruning(ConstantSparsity(0.25, 0), layers="mix"),
    ]
    for order in (1, -1):
        history = fit(model, *callbacks[::order]).history
        assert history["sparsity"][-1] == pytest.approx((32 + 8) / 136)


def test_frozen_weights_are_none_that_could_be_pruned():
    model = make_model()
    model.get_layer("mix").trainable = False
    model.compile("sgd", model.loss, jit_compile=False)
    history = fit(model, MagnitudePruning(HALF, layers=lambda layer: layer.trainable)).history
    left_dense, _, *pruned = zeros(model)
    assert (left_dense, sum(pruned)) == (0, 52)
    assert history["sparsity"][-1] == 0.5


@pytest.mark.parametrize(
    "pruning",
    [
        MagnitudePruning(HALF, pattern="channel"),
        SparsityRegularization(PolynomialDecay(0.0, 0.5, 0, 8), groups="channel"),
    ],
)
def test_whole_channels_of_outputs_stay(pruning):
    model = make_model()
    with pytest.warns(UserWarning, match=r"'head/kernel' \(its channels are the model's outputs"):
        history = fit(model, pruning).history
    assert zeros(model)[2:] == [32, 0]
    assert history["sparsity"][-1] == pytest.approx((16 + 32) / 136)


def test_whole_channels_of_outputs_go_where_they_are_named():
    model = make_model()
    fit(model, MagnitudePruning(HALF, layers="head", pattern="channel"))
    assert zeros(model) == [0, 0, 0, 16]  # 2.5 of 5 channels: 2, the even one


def test_outputs_inside_a_nested_model_stay():
    inner = keras.Sequential([keras.Input((6,)), kl.Dense(4, name="a"), kl.Dense(3, name="b")])
    inputs = keras.Input((6,))
    other = kl.Dense(2, name="c")(inputs)
    model = keras.Model(inputs, [kl.Softmax()(inner(inputs)), other])
    model.compile("sgd", ["mse", "mse"], jit_compile=False)
    pruning = MagnitudePruning(HALF, pattern="channel")
    with pytest.warns(UserWarning, match="'sequential.*/b/kernel'.*'c/kernel'"):
        model.fit(
            X[:, :, 0], [np.zeros((32, 3)), np.zeros((32, 2))], verbose=0, callbacks=[pruning]
        )
    kernels = [*(inner.get_layer(name).kernel for name in "ab"), model.get_layer("c").kernel]
    assert [int(np.count_nonzero(kernel.numpy() == 0)) for kernel in kernels] == [12, 0, 0]
