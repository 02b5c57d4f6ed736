"""Timing trainings of MobileNetV2-0.35 at 96x96, batch 32, on Keras 3 and on tf_keras, in turns."""

import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

BATCH, CLASSES = 32, 10


def make_model(library):
    """Build the model with a library (keras or tf_keras), not compiled."""
    return library.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=CLASSES)


def make_data(steps):
    """Make random images and labels for an epoch of that many steps."""
    rng = np.random.default_rng(0)
    x = rng.random((BATCH * steps, 96, 96, 3), dtype=np.float32)
    return x, rng.integers(0, CLASSES, len(x))


def make_timer(library):
    class Timer(library.callbacks.Callback):
        """Must stand last, so that the work of other callbacks is within the measured time."""

        def __init__(self):
            super().__init__()
            self.called = time.perf_counter()
            self.ends = []

        def on_epoch_end(self, epoch, logs=None):
            self.ends.append(time.perf_counter())

    return Timer()


def train(library, model, data, epochs, callbacks=()):
    """Return the seconds of the first epoch and of a step of the later ones."""
    model.compile("sgd", "sparse_categorical_crossentropy")
    timer = make_timer(library)
    model.fit(*data, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[*callbacks, timer])
    later = (timer.ends[-1] - timer.ends[0]) / (epochs - 1)
    return timer.ends[0] - timer.called, later / (len(data[0]) // BATCH)


def take_turns(variants, data, epochs, rounds):
    """Run every variant once a round, with fresh models; return its rounds by name."""
    times = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            keras.backend.clear_session()
            times[name].append(variant(data, epochs))
    return times


def compare(times, pairs):
    """Print medians, and for (changed, plain) pairs the medians of the ratios within a round.

    Within a round the machine's mood cancels. Returns the figures by name.
    """
    result = {"rounds": times}
    print(f"{'':32}{'first epoch':>14}{'step':>12}")
    for name, rounds in times.items():
        first, step = (statistics.median(column) for column in zip(*rounds, strict=True))
        result[name] = {"first_epoch_s": first, "step_s": step}
        print(f"{name:32}{first:12.2f} s{1000 * step:9.1f} ms")
    for changed, plain in pairs:
        both = list(zip(times[changed], times[plain], strict=True))
        ratios = [[after[i] / before[i] for after, before in both] for i in (0, 1)]
        first, step = (statistics.median(column) for column in ratios)
        result[f"{changed} / {plain}"] = {
            "first_epoch_ratio": first,
            "step_ratio": step,
            "step_ratio_range": [min(ratios[1]), max(ratios[1])],
        }
        print(
            f"{changed + ' / ' + plain:60}{first:6.2f} x{step:10.3f} x "
            f"({min(ratios[1]):.3f} to {max(ratios[1]):.3f})"
        )
    return result


def write_json(path, result):
    """Write the figures where a path is given."""
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
