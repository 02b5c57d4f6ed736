"""A softmax model and its twin with logits, trained quantization-aware from scratch, seed by seed.

Photos of hands at 32x32 that show a digit; a small network with BatchNormalization, without
augmentation. Accuracy is that of the integers that the device computes, on held-out photos.

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

WAYS = ("softmax, float", "logits, quantization-aware", "softmax, quantization-aware")
SEEDS = 5
EPOCHS = 8


def photos():
    """Return training and test photos at 32x32 with values from -1 to 1, and their labels."""
    return [
        (tf.image.resize(x, (32, 32), "area").numpy() / 127.5 - 1.0, y)
        for x, y in sign_digits.load_data()
    ]


def net(seed, activation):
    """Return an untrained network."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((32, 32, 3))])
    for filters in (16, 32, 64):
        model.add(kl.Conv2D(filters, 3, strides=2, padding="same", use_bias=False))
        model.add(kl.BatchNormalization(momentum=0.9))
        model.add(kl.ReLU())
    model.add(kl.GlobalAveragePooling2D())
    model.add(kl.Dense(10, activation=activation))
    return model


def accuracy(seed, way, train, test, epochs):
    """Train a way from scratch; return the accuracy of the last epoch on the test photos."""
    head, numbers = way.split(", ")
    model = net(seed, "softmax" if head == "softmax" else None)
    if numbers == "quantization-aware":
        model = tfc.quantize_aware(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=head == "logits")
    model.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False)
    model.fit(*train, epochs=epochs, batch_size=32, verbose=0)
    scores = model.predict(test[0], batch_size=64, verbose=0)
    return float((np.argmax(scores, -1) == test[1]).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", help="keep finished seeds in this file")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures there")
    parser.add_argument("--fast", action="store_true", help="one seed, one epoch")
    arguments = parser.parse_args()
    train, test = photos()
    finished = FinishedRows(arguments.rows, ("way", "seed"))
    epochs = 1 if arguments.fast else EPOCHS
    for seed in range(1 if arguments.fast else SEEDS):
        for way in WAYS:
            if finished.find(way=way, seed=seed) is None:
                reached = accuracy(seed, way, train, test, epochs)
                finished.add(way=way, seed=seed, accuracy=reached)
                print(finished.rows[-1], flush=True)
    figures = []
    for way in WAYS:
        runs = [row["accuracy"] for row in finished.rows if row["way"] == way]
        figures.append({"way": way, "runs": runs, "accuracy": statistics.mean(runs)})
        figures[-1]["deviation"] = statistics.stdev(runs) if len(runs) > 1 else 0.0
        print(f"{way}: {100 * figures[-1]['accuracy']:.2f} ± {100 * figures[-1]['deviation']:.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
