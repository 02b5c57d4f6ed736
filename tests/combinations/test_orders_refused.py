"""Orders of techniques that make no sense end in an error that says what to do."""

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from keras_callbacks import IterativeHardThresholding, MagnitudePruning, RigL


def net():
    model = keras.Sequential(
        [keras.Input((4,)), kl.Dense(8, activation="relu", name="body"), kl.Dense(6, name="head")]
    )
    model.compile("adam", "mse", jit_compile=False)
    return model


def fit(model, *callbacks):
    model.compile("adam", "mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    model.fit(x, np.ones((16, 6), "float32"), verbose=0, callbacks=list(callbacks))


@pytest.mark.parametrize(
    "callback",
    [
        MagnitudePruning(tfc.ConstantSparsity(0.5, 0)),
        IterativeHardThresholding(tfc.ConstantSparsity(0.5, 0)),
        RigL(0.5, end_step=1),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_pruning_what_is_clustered(callback):
    model = tfc.cluster_weights(net(), 4, layers="head")
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"'head' is clustered.*Prune first"):
        fit(model, callback)
    for kept, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, weight)
    assert model.get_layer("body").kernel.constraint is None


def test_other_layers_than_the_clustered_ones_may_be_pruned():
    model = tfc.cluster_weights(net(), 4, layers="head")
    fit(model, MagnitudePruning(tfc.ConstantSparsity(0.5, 0), layers="body"))
    assert np.mean(model.get_layer("body").kernel.numpy() == 0) == 0.5
    assert tfc.unique_weights(model)["head/kernel"] <= 4


def test_pruning_goes_on_after_clusters_are_released():
    model = tfc.release_clusters(tfc.cluster_weights(net(), 4))
    fit(model, MagnitudePruning(tfc.ConstantSparsity(0.5, 0), sparsity_distribution="uniform"))
    assert np.mean(model.get_layer("head").kernel.numpy() == 0) == 0.5


def test_clustering_twice():
    model = tfc.cluster_weights(net(), 4)
    with pytest.raises(ValueError, match=r"'body/kernel' is clustered already.*release_clusters"):
        tfc.cluster_weights(tfc.quantize_aware(model), 8)


def test_quantizing_twice():
    with pytest.raises(ValueError, match="quantization-aware already"):
        tfc.quantize_aware(tfc.cluster_weights(tfc.quantize_aware(net()), 4))


def test_more_clusters_than_weights_left():
    with pytest.raises(ValueError, match=r"'body/kernel' has 32 weights for 40 clusters"):
        tfc.cluster_weights(net(), 40)
    with pytest.raises(ValueError, match=r"'body/kernel' has 4 weights for 5 clusters"):
        tfc.cluster_weights(net(), 5, granularity="channel")
