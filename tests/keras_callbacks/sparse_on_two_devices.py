"""Train with RigL and with gates on two devices, and print what came of it, as JSON.

A program of its own: the logical devices must be set before TensorFlow starts.
"""

import json

import keras
import numpy as np
import tensorflow as tf

import tfcompress as tfc
from keras_callbacks import RigL


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(200, 20)).astype("float32")
    truth = np.zeros((20, 2), "float32")
    truth[[2, 7, 11]] = [[1.0, -2.0], [-1.5, 1.0], [2.0, 1.5]]
    with strategy.scope():
        sparse = keras.Sequential([keras.Input((20,)), keras.layers.Dense(2, use_bias=False)])
        sparse.compile(keras.optimizers.SGD(0.05), "mse")
        body = keras.layers.Dense(16, activation="tanh", name="body")
        gated = tfc.gated(keras.Sequential([keras.Input((20,)), body, keras.layers.Dense(2)]), 0.5)
        gated.compile(keras.optimizers.Adam(0.01), "mse")
    rigl = RigL(0.85, end_step=150, frequency=10)
    sparse.fit(x, x @ truth, batch_size=20, epochs=30, verbose=0, callbacks=[rigl])
    gated.fit(x, x @ truth, batch_size=20, epochs=20, verbose=0)
    result = {
        "found": bool(((sparse.layers[0].kernel.numpy() != 0) == (truth != 0)).all()),
        "closed": gated.closed,
        "units": gated.fold().get_layer("body").units,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
