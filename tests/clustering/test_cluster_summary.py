import keras
import numpy as np
import pytest

import tfcompress as tfc
from keras_callbacks import CompressionSummary
from tfcompress.clustering.summary import entropy


def model_of(kernel):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="head")])
    model.get_layer("head").kernel.assign(kernel)
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    return model


def test_entropy_by_hand():
    assert entropy(np.array([8])) == 0.0
    assert entropy(np.array([1, 1, 1, 1])) == 2.0
    assert entropy(np.array([4, 2, 1, 1])) == 1.75


def test_each_kernel_is_described():
    model = model_of([[0.0, 0.0], [0.0, 0.0], [0.5, 0.5], [-1.0, 2.0]])
    (kernel,) = tfc.cluster_summary(model).kernels
    assert (kernel.path, kernel.weights, kernel.values) == ("head/kernel", 8, 4)
    assert (kernel.zeros, kernel.largest_share, kernel.bits_per_weight) == (0.5, 0.5, 1.75)
    assert tfc.unique_weights(model) == {"head/kernel": 4}


def test_the_table_has_a_line_for_each_kernel():
    text = tfc.cluster_summary(model_of(np.ones((4, 2)))).to_text()
    header, line = text.splitlines()
    assert header.split()[:2] == ["kernel", "weights"]
    assert line.split() == ["head/kernel", "8", "1", "0.0%", "100.0%", "0.00"]


def test_the_callback_reports_clusters_while_training():
    model = tfc.cluster_weights(model_of(np.arange(8.0).reshape(4, 2)), 4)
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    x, y = np.ones((4, 4), "float32"), np.ones((4, 2), "float32")
    history = model.fit(x, y, verbose=0, callbacks=[CompressionSummary()]).history
    expected = tfc.cluster_summary(model).kernels[0]
    assert history["values/head/kernel"] == [expected.values] == [4]
    assert history["bits_per_weight/head/kernel"] == [pytest.approx(expected.bits_per_weight)]


def test_a_selector_that_matches_nothing_is_named():
    with pytest.raises(ValueError, match="layers='tail'"):
        tfc.cluster_summary(model_of(np.ones((4, 2))), "tail")
