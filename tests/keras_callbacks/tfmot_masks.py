"""Prune given weights with TFMOT on tf_keras: `python tfmot_masks.py IN.npz OUT.npz`.

A process of its own: importing TFMOT changes what `tf.keras` is.
"""

import sys

import keras
import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras

from keras_callbacks import MagnitudePruning

SPARSITIES = (0.5, 0.75, 0.9)


def pruned(kernel, sparsity, **pattern):
    """Return the kernel after one training step of TFMOT's pruning at a learning rate of 0."""
    if kernel.ndim == 2:
        shape, layer = kernel.shape[:1], tf_keras.layers.Dense(kernel.shape[1], use_bias=False)
    else:
        shape = kernel.shape[:3]
        layer = tf_keras.layers.Conv2D(kernel.shape[3], kernel.shape[:2], use_bias=False)
    model = tf_keras.Sequential([tf_keras.layers.InputLayer(shape), layer])
    model.set_weights([kernel])
    schedule = tfmot.sparsity.keras.ConstantSparsity(sparsity, begin_step=0, frequency=1)
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=schedule, **pattern)
    wrapped.compile(tf_keras.optimizers.SGD(0.0), "mse")
    x = np.ones((2, *shape), "float32")
    step = tfmot.sparsity.keras.UpdatePruningStep()
    wrapped.fit(x, wrapped.predict(x, verbose=0), epochs=2, verbose=0, callbacks=[step])
    return tfmot.sparsity.keras.strip_pruning(wrapped).get_weights()[0]


def pruned_by_us(kernel, schedule):
    """Return a kernel that MagnitudePruning has pruned on Keras 3, by a schedule of TFMOT's."""
    layer = keras.layers.Dense(kernel.shape[1], use_bias=False)
    model = keras.Sequential([keras.Input(kernel.shape[:1]), layer])
    model.set_weights([kernel])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x, y = np.ones((10, kernel.shape[0])), np.ones((10, kernel.shape[1]))
    model.fit(x, y, batch_size=1, verbose=0, callbacks=[MagnitudePruning(schedule)])
    return layer.kernel.numpy()


def main():
    kernels = np.load(sys.argv[1])
    found = {}
    for name, kernel in kernels.items():
        for sparsity in SPARSITIES:
            found[f"{name} {sparsity}"] = pruned(kernel, sparsity)
    dense = kernels["dense"]
    for pooling in ("AVG", "MAX"):
        found[f"block {pooling}"] = pruned(
            dense, 0.5, block_size=(1, 4), block_pooling_type=pooling
        )
    found["2:4"] = pruned(dense, 0.5, sparsity_m_by_n=(2, 4))
    schedules = tfmot.sparsity.keras
    found["their constant"] = pruned_by_us(dense, schedules.ConstantSparsity(0.75, 2))
    found["their polynomial"] = pruned_by_us(
        dense, schedules.PolynomialDecay(0.25, 0.75, begin_step=2, end_step=9, frequency=3)
    )
    theirs = schedules.PolynomialDecay(0.25, 0.75, begin_step=2, end_step=9, power=2)
    found["their values"] = np.array([float(theirs(step)[1]) for step in range(2, 12)])
    np.savez(sys.argv[2], **found)


if __name__ == "__main__":
    main()
