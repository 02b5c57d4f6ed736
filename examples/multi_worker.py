"""Prune and train with the deployed numerics on several machines, with `fit`.

Each machine runs the same command and knows the others by the environment variable TF_CONFIG:

    TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]},
                "task": {"type": "worker", "index": 0}}' python examples/multi_worker.py

with index 1 on the second. `--smoke` starts two workers on this machine instead.
"""

import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys

WORKERS = 2


def start_workers(out):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(WORKERS)]
    addresses = [f"localhost:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    processes = []
    for index in range(WORKERS):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config), "CUDA_VISIBLE_DEVICES": "-1"}
        command = [sys.executable, __file__, "--out", str(out), "--epochs", "2"]
        processes.append(subprocess.Popen(command, env=environment))
    try:
        return max(process.wait(timeout=300) for process in processes)
    finally:
        for process in processes:
            process.kill()


def train(out, epochs):
    import tensorflow as tf

    # Before anything else uses TensorFlow.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    import keras
    import numpy as np

    import tfcompress as tfc
    from keras_callbacks import MagnitudePruning
    from tfcompress.datasets import sign_digits

    keras.utils.set_random_seed(0)
    (x, y), _ = sign_digits.load_data()
    x = x.astype("float32") / 255.0
    with strategy.scope():
        model = tfc.quantize_aware(
            keras.Sequential(
                [
                    keras.Input(x.shape[1:]),
                    keras.layers.Conv2D(8, 3, 2, activation="relu", name="stem"),
                    keras.layers.Conv2D(16, 3, 2, activation="relu", name="body"),
                    keras.layers.GlobalAveragePooling2D(name="pool"),
                    keras.layers.Dense(10, name="head"),
                ]
            )
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=["accuracy"], jit_compile=False)
    # Every worker takes its share of each batch.
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=0)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    dataset = dataset.batch(64, drop_remainder=True).with_options(options)
    pruning = MagnitudePruning(
        tfc.PolynomialDecay(0.0, 0.5, begin_step=0, frequency=5), layers="body"
    )
    tfc.train_across_workers(model)
    # If a worker dies, start all again: they go on from what the first one saved.
    backup = tfc.BackupAcrossWorkers(out / "backup")
    history = model.fit(dataset, epochs=epochs, verbose=0, callbacks=[backup, pruning]).history
    index = strategy.cluster_resolver.task_id
    weights = {variable.path: variable.numpy() for variable in model.weights}
    np.savez(out / f"worker_{index}.npz", **weights)
    print(f"worker {index}: loss {history['loss'][-1]:.4f}, sparsity {history['sparsity'][-1]:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("multi_worker_out"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--smoke", action="store_true", help="two workers on this machine")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.smoke:
        sys.exit(start_workers(arguments.out))
    train(arguments.out, arguments.epochs)


if __name__ == "__main__":
    main()
