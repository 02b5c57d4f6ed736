"""A small network of each kind of kernel, and data that it learns."""

import keras
import numpy as np
from keras import layers as kl


def net():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = kl.Conv2D(16, 3, activation="relu", name="conv")(inputs)
    x = kl.DepthwiseConv2D(3, name="depthwise")(x)
    x = kl.Conv2D(16, 1, activation="relu", name="point")(x)
    return keras.Model(inputs, kl.Dense(4, name="head")(kl.GlobalAveragePooling2D()(x)))


def data(count=64):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(count, 8, 8, 3)).astype("float32")
    return x, (x.mean((1, 2)) @ generator.normal(size=(3, 4))).argmax(1)


def compiled(model, **settings):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, **{"jit_compile": False, **settings})
    return model
