import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_callbacks import CompressionSummary, MagnitudePruning
from tfcompress.pruning import ConstantSparsity


def make_model():
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(4, name="body"), keras.layers.Dense(2, name="head")]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.get_layer("body").kernel.assign(np.arange(1.0, 17.0).reshape(4, 4))
    return model


def fit(model, *callbacks, epochs=1):
    x, y = np.ones((4, 4), "float32"), np.ones((4, 2), "float32")
    return model.fit(x, y, epochs=epochs, verbose=0, callbacks=list(callbacks)).history


def test_counts_the_zeros_of_each_kernel_and_of_all():
    model = make_model()
    pruning = MagnitudePruning(ConstantSparsity(0.75, begin_step=0), layers="body")
    history = fit(model, pruning, CompressionSummary())
    assert history["sparsity/body/kernel"] == [0.75]
    assert history["sparsity/head/kernel"] == [0.0]
    assert history["sparsity/all"] == [0.5]  # 12 of 24 weights
    assert history["threshold/body/kernel"] == [13.0]  # of 1 to 16, 13 to 16 are kept
    assert "threshold/head/kernel" not in history


def test_writes_scalars_for_tensorboard(tmp_path):
    pruning = MagnitudePruning(ConstantSparsity(0.75, begin_step=0), layers="body")
    fit(make_model(), pruning, CompressionSummary(tmp_path), epochs=2)
    (path,) = tmp_path.iterdir()
    written = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name == "scalars"
            written[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    assert written == {
        (name, epoch): value
        for epoch in (0, 1)
        for name, value in {
            "sparsity/body/kernel": 0.75,
            "sparsity/head/kernel": 0.0,
            "sparsity/all": 0.5,
            "threshold/body/kernel": 13.0,
        }.items()
    }


def test_refuses_layers_without_a_kernel():
    with pytest.raises(ValueError, match=r"matches no layer.*layers='tail'"):
        fit(make_model(), CompressionSummary(layers="tail"))
