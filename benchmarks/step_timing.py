"""Timing trainings of MobileNetV2-0.35 at 96x96, batch 32, on Keras 3 and on tf_keras, in turns.

Whole trainings that follow each other meet the machine in different moods. So the trainings of a
round stand side by side, each in a thread of which one alone runs, and hand over every few steps.
"""

import json
import os
import statistics
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

BATCH, CLASSES = 32, 10
STEPS_PER_TURN = 5


def make_model(library):
    """Build the model with a library (keras or tf_keras), not compiled."""
    return library.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=CLASSES)


def make_data(steps):
    """Make random images and labels for an epoch of that many steps."""
    rng = np.random.default_rng(0)
    x = rng.random((BATCH * steps, 96, 96, 3), dtype=np.float32)
    return x, rng.integers(0, CLASSES, len(x))


class Turns:
    """Lets one of several threads run at a time, each for a while, round and round."""

    def __init__(self, names):
        self._waiting = list(names)
        self._changed = threading.Condition()

    def wait(self, name):
        """Return when it is this thread's turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting[0] == name)

    def hand_over(self, name, done=False):
        """Let the next thread run; come back into the queue unless done."""
        with self._changed:
            self._waiting.pop(0)
            if not done:
                self._waiting.append(name)
            self._changed.notify_all()


def make_timer(library, turns, name):
    class Timer(library.callbacks.Callback):
        """Must stand last, so that the work of other callbacks is within the measured time.

        The first turn is the whole first epoch, tracing included.
        """

        def __init__(self):
            super().__init__()
            self.started = time.perf_counter()
            self.times = []
            self.steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if self.times and self.steps % STEPS_PER_TURN == 0:
                self.end_turn()

        def on_epoch_end(self, epoch, logs=None):
            if not self.times:
                self.end_turn()

        def end_turn(self):
            self.times.append(time.perf_counter() - self.started)
            turns.hand_over(name)
            turns.wait(name)
            self.started = time.perf_counter()

    return Timer()


def take_turns(variants, data, epochs, rounds):
    """Train every variant once a round, with fresh models.

    Args:
        variants: {name: (library, function that returns a model and its callbacks)}.
        data: what ``make_data`` returned.
        epochs: how many epochs a training lasts.
        rounds: how many trainings of each.

    Returns:
        {name: (seconds of the first epoch of each round, seconds of a step of each turn)}.
    """
    times = {name: ([], []) for name in variants}
    for _ in range(rounds):
        keras.backend.clear_session()
        turns = Turns(variants)
        threads = [
            threading.Thread(target=_train, args=(turns, name, *variant, data, epochs, times[name]))
            for name, variant in variants.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return times


def _train(turns, name, library, make, data, epochs, times):
    turns.wait(name)
    try:
        model, callbacks = make()
        model.compile("sgd", "sparse_categorical_crossentropy")
        timer = make_timer(library, turns, name)
        model.fit(*data, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[*callbacks, timer])
        first_epoch, *later = timer.times
        times[0].append(first_epoch)
        times[1].extend(turn / STEPS_PER_TURN for turn in later)
    finally:
        turns.hand_over(name, done=True)


def compare(times, pairs):
    """Print medians, and for (changed, plain) pairs the medians of the ratios within a turn.

    Within a turn the machine's mood cancels. Returns the figures by name.
    """
    result = {"times": times}
    print(f"{'':32}{'first epoch':>14}{'step':>12}")
    for name, (first, steps) in times.items():
        result[name] = {
            "first_epoch_s": statistics.median(first),
            "step_s": statistics.median(steps),
        }
        print(
            f"{name:32}{statistics.median(first):12.2f} s{1e3 * statistics.median(steps):9.1f} ms"
        )
    for changed, plain in pairs:
        first, steps = (
            sorted(after / before for after, before in zip(*both, strict=True))
            for both in zip(times[changed], times[plain], strict=True)
        )
        lower, _, upper = statistics.quantiles(steps, n=4)
        result[f"{changed} / {plain}"] = {
            "first_epoch_ratio": statistics.median(first),
            "step_ratio": statistics.median(steps),
            "step_ratio_quartiles": [lower, upper],
        }
        print(
            f"{changed + ' / ' + plain:60}{statistics.median(first):6.2f} x"
            f"{statistics.median(steps):10.3f} x ({lower:.3f} to {upper:.3f}, {len(steps)} turns)"
        )
    return result


def write_json(path, result):
    """Write the figures where a path is given."""
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
