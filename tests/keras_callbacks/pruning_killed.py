"""A training that can be killed and resumed: `python pruning_killed.py FOLDER [STEP]`.

With a step, the process kills itself with SIGKILL after it: nothing can clean up. Without one it
trains to the end, from a backup where there is one, and writes the weights.
"""

import os
import pathlib
import signal
import sys

import keras
import numpy as np
from interruption import KillAt

from keras_callbacks import MagnitudePruning
from tfcompress.pruning import PolynomialDecay

BATCH, STEPS, EPOCHS = 8, 6, 4


def make_model():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(12, activation="tanh", name="by_magnitude"),
            keras.layers.Dense(10, activation="tanh", name="by_taylor"),
            # Begins at zero: kept weights that are zero must not be taken for masked ones.
            keras.layers.Dense(6, kernel_initializer="zeros", name="by_movement"),
        ]
    )
    model.compile("adam", "mse")
    return model


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH * STEPS, 8)).astype("float32")
    return x, np.tanh(x[:, :6] * x[:, 1:7])


def train(model, *callbacks, **arguments):
    # In order: a resumed training shuffles differently.
    model.fit(
        *data(), batch_size=BATCH, shuffle=False, verbose=0, callbacks=list(callbacks), **arguments
    )


def pruning():
    """Return callbacks of every kind of state: masks only, sums that reset, sums that do not."""
    return [
        MagnitudePruning(PolynomialDecay(0.0, 0.8, 2, frequency=5), layers="by_magnitude"),
        MagnitudePruning(
            PolynomialDecay(0.0, 0.8, 2, 23, frequency=4), layers="by_taylor", criterion="taylor"
        ),
        MagnitudePruning(
            PolynomialDecay(0.0, 0.8, 4, frequency=7), layers="by_movement", criterion="movement"
        ),
    ]


def main():
    folder = pathlib.Path(sys.argv[1])
    model = make_model()
    callbacks = [keras.callbacks.BackupAndRestore(folder / "backup"), *pruning()]
    if len(sys.argv) > 2:
        callbacks.append(KillAt(int(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGKILL)))
    train(model, *callbacks, epochs=EPOCHS)
    np.savez(folder / "weights.npz", *model.get_weights())


if __name__ == "__main__":
    main()
