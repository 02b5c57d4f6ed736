"""What a distillation step costs beside training the student alone.

Four ways to train take turns, one epoch each, on the same synthetic images: the student alone, with
a cached teacher, with the teacher itself, and with Keras's own Distiller; the teacher's inference
is timed in the same turns. Reported are medians over the rounds, of the times and of the ratios
within a round:

* cached / alone: at most 1.05 wanted;
* distilled / (alone + teacher): at most 1.05 wanted.

    python benchmarks/distillation_step.py
    python benchmarks/distillation_step.py --rounds 3 --steps 20 --json step.json
"""

import argparse
import json
import os
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

import tfcompress as tfc
from tfcompress.distillation import SoftLabels

TASK = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def separable_net(widths, classes=10, size=64, name=None):
    """A convolutional net of depthwise-separable blocks, each but the first halving the size."""
    inputs = keras.Input((size, size, 3))
    x = layers.Conv2D(widths[0], 3, strides=2, padding="same", use_bias=False)(inputs)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    for width in widths[1:]:
        x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        x = layers.Conv2D(width, 1, use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes)(x), name=name)


class EpochSeconds(keras.callbacks.Callback):
    """The time of an epoch, without what ``fit`` does before and after."""

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = time.perf_counter() - self.start


def contenders(x, y, batch_size, folder):
    """Return {name: a function that runs one epoch and returns its seconds}."""
    teacher = separable_net([64, 128, 192, 256], name="teacher")

    def student():
        return separable_net([32, 64, 96, 128], name="student")

    def epoch_of(model, *data, **options):
        model.compile(keras.optimizers.Adam(), TASK)

        def run():
            timer = EpochSeconds()
            model.fit(*data, **options, verbose=0, callbacks=[timer])
            return timer.seconds

        return run

    cache = tfc.cache_teacher(teacher, x, folder, progress=False)
    losses = [SoftLabels(4.0)]
    cached = tfc.Distiller(student(), cache, losses)
    keras_loss = keras.distillation.LogitsDistillation(4.0, keras.losses.KLDivergence())
    arrays = {"batch_size": batch_size}

    def infer():
        start = time.perf_counter()
        teacher.predict(x, batch_size=batch_size, verbose=0)
        return time.perf_counter() - start

    return {
        "alone": epoch_of(student(), x, y, **arrays),
        "cached": epoch_of(cached, cache.attach(x, y, batch_size=batch_size)),
        "distilled": epoch_of(tfc.Distiller(student(), teacher, losses), x, y, **arrays),
        "keras": epoch_of(
            keras.distillation.Distiller(teacher, student(), [keras_loss]), x, y, **arrays
        ),
        "teacher": infer,
    }


def measure(rounds, steps, batch_size):
    """Let the contenders take turns; return their milliseconds per step, a list for each."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(steps * batch_size, 64, 64, 3)).astype("float32")
    y = rng.integers(0, 10, len(x))
    with tempfile.TemporaryDirectory() as folder:
        runs = contenders(x, y, batch_size, os.path.join(folder, "cache"))
        for run in runs.values():
            run()
        times = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                times[name].append(1000 * run() / steps)
    return times


def summarize(times):
    """Return medians in milliseconds, and the ratios that the benchmark is about.

    A ratio is taken within each round, where the machine is in the same state, and then its median.
    """
    alone, teacher = np.array(times["alone"]), np.array(times["teacher"])
    ratios = {
        "cached / alone": times["cached"] / alone,
        "distilled / (alone + teacher)": times["distilled"] / (alone + teacher),
        "keras / (alone + teacher)": times["keras"] / (alone + teacher),
    }
    return {
        "milliseconds": {name: statistics.median(values) for name, values in times.items()},
        "ratios": {name: float(np.median(values)) for name, values in ratios.items()},
        "rounds": times,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20, help="steps of an epoch")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--json", help="also write the result to this file")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    result = summarize(measure(arguments.rounds, arguments.steps, arguments.batch_size))
    for name, value in result["milliseconds"].items():
        spread = result["rounds"][name]
        print(f"{name:<10} {value:7.2f} ms per step  ({min(spread):.2f} to {max(spread):.2f})")
    for name, value in result["ratios"].items():
        print(f"{name}: {value:.3f}")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
