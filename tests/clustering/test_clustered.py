import keras
import numpy as np
import pytest
from small_clustered_net import compiled, data, net

import tfcompress as tfc
from tfcompress.clustering import release_clusters, unique_weights
from tfcompress.keras_graph.kernels import find_kernels


@pytest.mark.parametrize("start", ["kmeans++", "linear", "density", "random"])
def test_at_most_so_many_values_before_and_after_training(start):
    model = compiled(tfc.cluster_weights(net(), 8, cluster_centroids_init=start))
    before = {k.path: k.variable.numpy() for k in find_kernels(model)}
    model.fit(*data(), epochs=3, verbose=0)
    counts = unique_weights(model)
    assert max(counts[f"{name}/kernel"] for name in ("conv", "point", "head")) <= 8
    assert counts["depthwise/kernel"] == 9 * 16
    for kernel in find_kernels(model):
        assert not np.array_equal(before[kernel.path], kernel.variable.numpy())


def test_training_lowers_the_loss_with_clusters():
    model = compiled(tfc.cluster_weights(net(), 8))
    losses = model.fit(*data(), epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]


def test_values_of_each_channel():
    model = compiled(tfc.cluster_weights(net(), 3, "conv", granularity="channel"))
    model.fit(*data(), verbose=0)
    kernel = model.get_layer("conv").kernel.numpy()
    assert all(len(np.unique(kernel[..., channel])) <= 3 for channel in range(16))
    assert len(np.unique(kernel)) > 3


@pytest.mark.parametrize("settings", [{"jit_compile": True}, {"steps_per_execution": 4}])
def test_modes_of_training(settings):
    model = compiled(tfc.cluster_weights(net(), 4), **settings)
    model.fit(*data(), epochs=2, verbose=0)
    assert unique_weights(model)["point/kernel"] <= 4


def test_released_weights_stay_and_move_freely():
    model = compiled(tfc.cluster_weights(net(), 4))
    release_clusters(model)
    assert unique_weights(model)["conv/kernel"] <= 4
    model.fit(*data(), verbose=0)
    assert unique_weights(model)["conv/kernel"] > 4


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"number_of_clusters": 1}, "number_of_clusters=1"),
        ({"number_of_clusters": 300}, "300"),
        ({"number_of_clusters": 100, "layers": "head"}, r"'head/kernel' has 64 weights"),
        ({"granularity": 3}, "3 equal groups"),
        ({"granularity": "row"}, "granularity='row'"),
        ({"cluster_centroids_init": "best"}, "'best'"),
        ({"layers": "nothing"}, "matches no layer"),
        ({"mobility": 1.5}, "mobility=1.5"),
        ({"mobility": 0.1, "method": "differentiable"}, "requires method='nearest'"),
    ],
)
def test_bad_input_is_named(how, message):
    with pytest.raises(ValueError, match=message):
        tfc.cluster_weights(net(), **how)


def test_weights_that_cannot_be_clustered_are_named():
    model = net()
    model.get_layer("point").trainable = False
    with pytest.raises(ValueError, match="'point/kernel' is frozen"):
        tfc.cluster_weights(model)
    model = tfc.cluster_weights(net())
    with pytest.raises(ValueError, match="clustered already"):
        tfc.cluster_weights(model)
    model = net()
    model.get_layer("head").kernel.assign(np.full((16, 4), np.nan))
    with pytest.raises(ValueError, match="'head/kernel' holds weights that are NaN"):
        tfc.cluster_weights(model)


def test_a_model_that_only_holds_others_is_built_with_them():
    class Pair(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8)])
            self.second = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])

    pair = tfc.cluster_weights(Pair(), 3)
    kernels = [part.layers[0].kernel for part in (pair.first, pair.second)]
    assert [len(np.unique(kernel)) for kernel in kernels] == [3, 3]
