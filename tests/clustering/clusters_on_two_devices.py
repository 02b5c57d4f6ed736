"""Train with clusters on one device and on two, and print what came of it, as JSON.

A program of its own: the logical devices must be set before TensorFlow starts.
"""

import json

import keras
import numpy as np
import tensorflow as tf

import tfcompress as tfc


def trained(strategy, method):
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
    kernels = [model.layers[0].kernel.numpy(), model.layers[1].kernel.numpy()]
    return kernels, list(tfc.unique_weights(model).values())


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    result = {}
    for method in ("nearest", "differentiable"):
        one, _ = trained(tf.distribute.get_strategy(), method)
        two, values = trained(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), method)
        apart = max(float(np.abs(a - b).max()) for a, b in zip(one, two, strict=True))
        result[method] = {"apart": apart, "values": values}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
