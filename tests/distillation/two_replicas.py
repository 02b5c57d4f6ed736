"""Train the same distiller on one device and on two, and print what came of both, as JSON.

A program of its own: the logical devices must be set before TensorFlow starts.
"""

import json

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import tfcompress as tfc
from tfcompress.distillation import Features, SoftLabels


def net(width, name):
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(width, name="hidden"), layers.Dense(3, name="head")],
        name=name,
    )


def train():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 4)).astype("float32"), rng.integers(0, 3, 16)
    keras.utils.set_random_seed(5)
    student = net(5, "student")
    losses = [
        SoftLabels(),
        Features("hidden", "hidden", seed=1),
        keras.distillation.LogitsDistillation(),
    ]
    distiller = tfc.Distiller(student, net(8, "teacher"), losses)
    task = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distiller.compile(keras.optimizers.SGD(0.1), task)
    history = distiller.fit(
        x, y, batch_size=8, epochs=3, shuffle=False, verbose=0, sample_weight=np.linspace(0, 1, 16)
    ).history
    return {"history": history, "weights": [w.tolist() for w in student.get_weights()]}


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    results = {"one": train()}
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        results["two"] = train()
    results["replicas"] = strategy.num_replicas_in_sync
    print(json.dumps(results))


if __name__ == "__main__":
    main()
