"""A classifier of seconds and its data, and a search of seconds."""

import keras
import numpy as np
from keras import layers as kl

import tfcompress as tfc

# Few epochs of few steps, few timed runs.
QUICK = {
    "epochs": 1,
    "batch_size": 64,
    "runs": 5,
    "time_budget": 600,
    "target": "raspberry-pi-4",
    "max_accuracy_drop": 0.05,
    "progress": False,
}


def blobs(count=256, seed=0):
    """Return small images whose brightness is their class, and the classes."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 3, count)
    x = 0.3 * generator.normal(size=(count, 8, 8, 1)) + (y - 1)[:, None, None, None]
    return x.astype("float32"), y


def make_model():
    """Return an untrained classifier of three classes."""
    inputs = keras.Input((8, 8, 1), name="image")
    x = kl.Conv2D(8, 3, activation="relu", name="first")(inputs)
    x = kl.Conv2D(16, 3, activation="relu", name="second")(x)
    outputs = kl.Dense(3, name="head")(kl.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, outputs, name="blobs")


def trained_model():
    """Return a classifier that has learnt the blobs."""
    keras.utils.set_random_seed(0)
    model = make_model()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"], jit_compile=False)
    model.fit(*blobs(), batch_size=64, epochs=8, verbose=0)
    return model


def search(model, directory, **changes):
    """Search for seconds."""
    return tfc.compress(model, blobs(), blobs(), directory=directory, **{**QUICK, **changes})
