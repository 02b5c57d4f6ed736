"""What pruning costs while training: MobileNetV2-0.35 at 96x96, batch 32.

Four trainings of the same length take turns, each round with fresh models: plain and with
MagnitudePruning on Keras 3, plain and with TFMOT on tf_keras. Reported are medians over the rounds,
and the ratios of pruned to plain:

- the first epoch, from the call of `fit` to the end of the epoch, tracing included;
- a step, from the later epochs;
- both also in processor seconds of all threads, which a busy machine disturbs less;
- the memory of the masks, in bytes a weight.

    python benchmarks/pruning_step.py --rounds 5 --json pruning_step.json
"""

import argparse
import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras

from keras_callbacks import MagnitudePruning
from tfcompress.graph.kernels import find_kernels
from tfcompress.pruning import PolynomialDecay

BATCH, CLASSES, FREQUENCY = 32, 10, 10


def make_model(library):
    model = library.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=CLASSES)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def make_timer(library):
    class Timer(library.callbacks.Callback):
        """Must stand last, so that the work of other callbacks is within the measured time."""

        def __init__(self):
            super().__init__()
            self.marks = [self.now()]

        @staticmethod
        def now():
            return np.array([time.perf_counter(), time.process_time()])

        def on_epoch_end(self, epoch, logs=None):
            self.marks.append(self.now())

    return Timer()


def train(library, model, callbacks, data, epochs):
    """Return seconds and processor seconds of the first epoch, and of a step of the later ones."""
    timer = make_timer(library)
    model.fit(*data, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[*callbacks, timer])
    called, first, last = timer.marks[0], timer.marks[1], timer.marks[-1]
    step = (last - first) / (epochs - 1) / (len(data[0]) // BATCH)
    return [*map(float, first - called), *map(float, step)]


def keras_plain(data, epochs):
    return train(keras, make_model(keras), [], data, epochs)


def keras_pruned(data, epochs):
    steps = epochs * len(data[0]) // BATCH
    pruning = MagnitudePruning(PolynomialDecay(0.0, 0.75, 0, steps, frequency=FREQUENCY))
    return train(keras, make_model(keras), [pruning], data, epochs)


def tfmot_plain(data, epochs):
    return train(tf_keras, make_model(tf_keras), [], data, epochs)


def tfmot_pruned(data, epochs):
    steps = epochs * len(data[0]) // BATCH
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.75, 0, steps, frequency=FREQUENCY)
    model = tfmot.sparsity.keras.prune_low_magnitude(make_model(tf_keras), schedule)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return train(tf_keras, model, [tfmot.sparsity.keras.UpdatePruningStep()], data, epochs)


def mask_bytes_per_weight():
    """Return the memory of the masks over the number of weights that they mask."""
    model = make_model(keras)
    pruning = MagnitudePruning(PolynomialDecay(0.0, 0.75, 0, 1))
    x, y = np.zeros((1, 96, 96, 3), "float32"), np.zeros(1)
    model.fit(x, y, verbose=0, callbacks=[pruning])
    kernels = [kernel for kernel in find_kernels(model) if not kernel.depthwise]
    masks = sum(kernel.variable.constraint.mask.value.numpy().nbytes for kernel in kernels)
    return masks / sum(kernel.size for kernel in kernels)


MEASURES = ("first epoch", "first epoch, CPU", "step", "step, CPU")
VARIANTS = {
    "Keras 3, plain": keras_plain,
    "Keras 3, MagnitudePruning": keras_pruned,
    "tf_keras, plain": tfmot_plain,
    "tf_keras, TFMOT": tfmot_pruned,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.random((BATCH * arguments.steps, 96, 96, 3), dtype=np.float32)
    data = x, rng.integers(0, CLASSES, len(x))
    rounds = {name: [] for name in VARIANTS}
    for _ in range(arguments.rounds):
        for name, variant in VARIANTS.items():
            keras.backend.clear_session()
            rounds[name].append(variant(data, arguments.epochs))
    result = {"mask_bytes_per_weight": mask_bytes_per_weight(), "rounds": rounds}
    print(f"{'':28}" + "".join(f"{name:>20}" for name in MEASURES))
    for name, times in rounds.items():
        medians = [statistics.median(column) for column in zip(*times, strict=True)]
        result[name] = dict(zip(MEASURES, medians, strict=True))
        print(f"{name:28}" + "".join(f"{value:18.3f} s" for value in medians))
    for plain, pruned in (list(VARIANTS)[:2], list(VARIANTS)[2:]):
        # Ratios within a round: what both of a pair suffered cancels.
        ratios = np.median(np.array(rounds[pruned]) / np.array(rounds[plain]), axis=0)
        result[pruned]["ratios"] = dict(zip(MEASURES, map(float, ratios), strict=True))
        print(f"{'  / plain':28}" + "".join(f"{ratio:18.3f} x" for ratio in ratios))
    print(f"masks: {result['mask_bytes_per_weight']:.2f} bytes a weight")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
