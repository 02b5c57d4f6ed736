"""Trainings that end early, and what tests ask of those that go on."""

import os
import subprocess
import sys

import keras
import numpy as np


class Interrupted(Exception):
    pass


def interrupt():
    raise Interrupted


class KillAt(keras.callbacks.Callback):
    """Call a function after a step of the optimizer's count."""

    def __init__(self, step, kill):
        super().__init__()
        self.step, self.kill = step, kill

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            self.kill()


def run_script(script, *arguments):
    """Run a script in a process of its own that finds what this one does."""
    return subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def assert_same(weights, expected):
    for found, wanted in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
