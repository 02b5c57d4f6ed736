"""Kill trainings and resume them: `python killed_training.py TECHNIQUE FOLDER STEP...`.

Prints a JSON line for each step: the signal that ended the training there, and whether the resumed
one ended as the uninterrupted one did, bit for bit. Processes are forked after the imports and
before TensorFlow computes anything, so that each begins as a fresh one does.
"""

import json
import os
import pathlib
import signal
import sys

import keras
import numpy as np
from small_trainings import EPOCHS, prepare


class KillAt(keras.callbacks.Callback):
    """SIGKILL after a number of batches: nothing can clean up."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations.numpy() >= self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def train(technique, folder, *extra):
    model, fed, callbacks = prepare(technique, folder)
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    history = model.fit(**fed, epochs=EPOCHS, verbose=0, callbacks=[backup, *callbacks, *extra])
    state = [*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)]
    np.savez(folder / "end.npz", np.float64(history.history["loss"][-1]), *state)


def forked(technique, folder, *extra):
    """Train in a process of its own; return its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            train(technique, folder, *extra)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def end_of(folder):
    with np.load(folder / "end.npz") as file:
        return [file[name] for name in file.files]


def main():
    technique, folder, steps = sys.argv[1], pathlib.Path(sys.argv[2]), map(int, sys.argv[3:])
    (folder / "whole").mkdir()
    if forked(technique, folder / "whole"):
        sys.exit("the uninterrupted training failed")
    expected = end_of(folder / "whole")
    for number, step in enumerate(steps):
        place = folder / str(number)
        place.mkdir()
        killed = forked(technique, place, KillAt(step))
        resumed = forked(technique, place)
        found = end_of(place) if resumed == 0 else []
        equal = len(found) == len(expected) and all(map(np.array_equal, found, expected))
        print(json.dumps({"step": step, "signal": -killed, "equal": equal}), flush=True)


if __name__ == "__main__":
    main()
