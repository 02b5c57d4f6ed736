"""Train for long: `python long_training.py TECHNIQUE STEPS`; print memory and retracing as JSON."""

import json
import pathlib
import sys
import tempfile

import keras
from small_trainings import STEPS, prepare

PAGE = 4096


def resident():
    """Return the memory of this process in MiB."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * PAGE / (1 << 20)


class Watch(keras.callbacks.Callback):
    """Note the memory and the traces after a tenth of the epochs and at the end."""

    def __init__(self, epochs, traces):
        super().__init__()
        self.epochs, self.traces = epochs, traces
        self.early, self.late, self.traced_early = 0.0, 0.0, 0

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epochs // 10:
            self.early, self.traced_early = resident(), len(self.traces)
        self.late = resident()


def count_traces(model):
    """Count how often the step of a model is traced; return the list that grows."""
    step, traces = model.train_step, []

    def counted(data):
        traces.append(None)
        return step(data)

    model.train_step = counted
    return traces


def main():
    technique, steps = sys.argv[1], int(sys.argv[2])
    epochs = max(10, steps // STEPS)
    with tempfile.TemporaryDirectory() as folder:
        model, fed, callbacks = prepare(technique, pathlib.Path(folder))
        model.compile("adam", "mse", jit_compile=False)
        traces = count_traces(model)
        watch = Watch(epochs, traces)
        model.fit(**fed, epochs=epochs, verbose=0, callbacks=[*callbacks, watch])
    result = {
        "technique": technique,
        "steps": epochs * STEPS,
        "early": watch.early,
        "late": watch.late,
        "retraced": len(traces) - watch.traced_early,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
