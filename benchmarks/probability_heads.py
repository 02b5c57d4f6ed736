"""Softmax and sigmoid heads and their twins with logits, quantization-aware, seed by seed.

Photos of hands at 32x32 that show a digit; a small network with BatchNormalization, without
augmentation. Twins start from the same weights and see the same batches, from scratch and from the
trained float model. Accuracy is that of the integers that the device computes, on held-out photos.

    python benchmarks/probability_heads.py --rows heads.jsonl --json heads.json
"""

import argparse
import json
import os
import pathlib
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from finished_rows import FinishedRows
from keras import layers as kl

import tfcompress as tfc
from tfcompress.datasets import sign_digits

HEADS = ("softmax", "sigmoid")
EPOCHS = {"float": 12, "from scratch": 12, "fine-tuned": 4}
SEEDS = 5


def photos():
    """Return training and test photos at 32x32 with values from -1 to 1, and digits as 0 and 1."""
    return [
        (tf.image.resize(x, (32, 32), "area").numpy() / 127.5 - 1.0, np.eye(10, dtype="float32")[y])
        for x, y in sign_digits.load_data()
    ]


def net(activation):
    """Return an untrained network."""
    model = keras.Sequential([keras.Input((32, 32, 3))])
    for filters in (16, 32, 64):
        model.add(kl.Conv2D(filters, 3, strides=2, padding="same", use_bias=False))
        model.add(kl.BatchNormalization(momentum=0.9))
        model.add(kl.ReLU())
    model.add(kl.GlobalAveragePooling2D())
    model.add(kl.Dense(10, activation=activation))
    return model


def train(model, head, from_logits, train_data, epochs, seed):
    """Train with the loss that fits a head, at a rate that decays to zero."""
    keras.utils.set_random_seed(seed)
    entropy = {
        "softmax": keras.losses.CategoricalCrossentropy,
        "sigmoid": keras.losses.BinaryCrossentropy,
    }[head]
    steps = epochs * -(-len(train_data[0]) // 32)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(rate), entropy(from_logits=from_logits), jit_compile=False)
    model.fit(*train_data, epochs=epochs, batch_size=32, verbose=0)


def accuracy(model, test):
    """Return the share of photos whose largest output is the digit that they show."""
    scores = model.predict(test[0], batch_size=64, verbose=0)
    return float((scores.argmax(-1) == test[1].argmax(-1)).mean())


def measure(head, seed, train_data, test, epochs):
    """Train a head and its twin in every way; yield (way, output, accuracy)."""
    keras.utils.set_random_seed(seed)
    trained = net(head)
    starts = {"from scratch": trained.get_weights()}
    train(trained, head, False, train_data, epochs["float"], seed)
    starts["fine-tuned"] = trained.get_weights()
    yield "float", head, accuracy(trained, test)
    for way, weights in starts.items():
        for output in (head, "logits"):
            model = net(None if output == "logits" else head)
            model.set_weights(weights)
            quantized = tfc.quantize_aware(model)
            train(quantized, head, output == "logits", train_data, epochs[way], seed)
            yield way, output, accuracy(quantized, test)


def figures(rows):
    """Return the mean and the deviation over the seeds of each head, way and output."""
    runs = {}
    for row in rows:
        for way, output, reached in row["measured"]:
            runs.setdefault((row["head"], way, output), []).append(reached)
    return [
        {
            "head": head,
            "way": way,
            "output": output,
            "runs": reached,
            "accuracy": statistics.mean(reached),
            "deviation": statistics.stdev(reached) if len(reached) > 1 else 0.0,
        }
        for (head, way, output), reached in runs.items()
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", help="keep finished seeds in this file")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures there")
    parser.add_argument("--fast", action="store_true", help="one seed, one epoch")
    arguments = parser.parse_args()
    train_data, test = photos()
    finished = FinishedRows(arguments.rows, ("head", "seed"))
    epochs = dict.fromkeys(EPOCHS, 1) if arguments.fast else EPOCHS
    for seed in range(1 if arguments.fast else SEEDS):
        for head in HEADS:
            if finished.find(head=head, seed=seed) is None:
                found = list(measure(head, seed, train_data, test, epochs))
                print(finished.add(head=head, seed=seed, measured=found), flush=True)
    found = figures(finished.rows)
    for row in found:
        print(
            f"{row['head']:8} {row['way']:13} {row['output']:8} "
            f"{100 * row['accuracy']:.2f} ± {100 * row['deviation']:.2f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
