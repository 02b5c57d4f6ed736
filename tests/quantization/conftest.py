import keras
import numpy as np
import pytest
from keras import layers as kl


@pytest.fixture
def small_net():
    """Build a convolution with everything the converter folds, and a head, on 8x8 images."""

    def build():
        return keras.Sequential(
            [
                keras.Input((8, 8, 3), name="image"),
                kl.Conv2D(4, 3, use_bias=False, name="conv"),
                kl.BatchNormalization(name="norm"),
                kl.ReLU(6.0, name="relu"),
                kl.Flatten(name="flat"),
                kl.Dense(3, name="head"),
            ],
            name="small",
        )

    return build


@pytest.fixture
def images():
    return np.random.default_rng(0).random((16, 8, 8, 3), dtype="float32")


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(0, 3, 16)
