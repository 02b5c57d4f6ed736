"""A training with clusters that can be killed: `python clustering_killed.py METHOD FOLDER [STEP]`.

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

import tfcompress as tfc

BATCH, STEPS, EPOCHS = 8, 6, 4


def make_model(method="nearest", quantized=False):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(12, activation="tanh", name="pruned"),
            keras.layers.Dense(6, name="dense"),
        ]
    )
    kernel = model.get_layer("pruned").kernel
    kernel.assign(np.where(np.abs(kernel) < np.median(np.abs(kernel)), 0.0, kernel))
    mobility = 0.7 if method == "nearest" else 1.0
    model = tfc.cluster_weights(model, 6, granularity=2, method=method, mobility=mobility)
    if quantized:
        model = tfc.quantize_aware(model)
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    return model


def train(model, *callbacks):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(BATCH * STEPS, 8)).astype("float32")
    y = np.tanh(x[:, :6] * x[:, 1:7])
    # In order: a resumed training shuffles differently.
    model.fit(x, y, BATCH, EPOCHS, shuffle=False, verbose=0, callbacks=[*callbacks])
    return model


def main():
    method, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    callbacks = [keras.callbacks.BackupAndRestore(folder / "backup")]
    if len(sys.argv) > 3:
        callbacks.append(KillAt(int(sys.argv[3]), lambda: os.kill(os.getpid(), signal.SIGKILL)))
    model = train(make_model(method), *callbacks)
    np.savez(folder / "weights.npz", *model.get_weights())


if __name__ == "__main__":
    main()
