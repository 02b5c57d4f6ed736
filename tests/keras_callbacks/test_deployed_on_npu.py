import keras
import numpy as np
import pytest

import tfcompress as tfc
from keras_callbacks import DeployedAccuracy, MagnitudePruning


def test_zeros_show_in_the_cycles_and_flash_of_an_npu():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(64, 256)).astype("float32")
    y = np.arange(64) % 4
    model = keras.Sequential([keras.Input((256,)), *map(keras.layers.Dense, (256, 4))])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    pruning = MagnitudePruning(tfc.ConstantSparsity(0.75, begin_step=3, frequency=1))
    deployed = DeployedAccuracy((x, y), representative_data=x, target="ethos-u55-128")
    logs = model.fit(x, y, epochs=2, verbose=0, callbacks=[pruning, deployed]).history
    assert logs["npu_left_on_cpu"] == [0, 0]
    assert logs["npu_flash"][1] < 0.6 * logs["npu_flash"][0]
    assert logs["npu_cycles"][1] < logs["npu_cycles"][0]


def test_a_device_without_a_compiler_is_refused():
    with pytest.raises(ValueError, match=r"'ethos-u55-128'.*Received: target='android'"):
        DeployedAccuracy((np.zeros((1, 2)), np.zeros(1)), target="android")
