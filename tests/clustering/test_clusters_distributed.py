import keras
import numpy as np
import pytest
import tensorflow as tf

import tfcompress as tfc


def trained(strategy, method):
    """Train with clusters; return the kernels, and how many values each of them has."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(160, 8)).astype("float32")
    with strategy.scope():
        model = keras.Sequential(
            [keras.Input((8,)), keras.layers.Dense(12, activation="tanh"), keras.layers.Dense(4)]
        )
        model = tfc.cluster_weights(model, 6, method=method)
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    model.fit(x, np.tanh(x[:, :4] * x[:, 1:5]), 16, 3, shuffle=False, verbose=0)
    model = model.settle() if method == "differentiable" else model
    kernels = [layer.kernel.numpy() for layer in model.layers]
    return kernels, tfc.unique_weights(model).values()


@pytest.mark.parametrize("method", ["nearest", "differentiable"])
def test_two_devices_train_the_clusters_of_one(method, two_replicas):
    one, _ = trained(tf.distribute.get_strategy(), method)
    two, values = trained(two_replicas, method)
    assert max(values) <= 6
    for alone, mirrored in zip(one, two, strict=True):
        np.testing.assert_allclose(alone, mirrored, rtol=0, atol=1e-4)
