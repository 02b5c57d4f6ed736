"""What the benchmark of backends does in one process, whose KERAS_BACKEND says on which."""

import importlib.metadata
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers as kl
from timed_models import MODELS
from turns import batches, take_turns

import tfcompress as tfc
from tfcompress.backends import jit_compile_on_cpu
from tfcompress.pruning.pruner import prunable_kernels

BACKEND = keras.backend.backend()
BATCH_SIZE, TEMPERATURE, SPARSITY, FREQUENCY = 64, 4.0, 0.75, 10
TEACHER_WIDTHS, STUDENT_WIDTHS = (24, 48, 64, 64), (16, 24, 32, 48)
TIMED_BATCH = 32


def network(shape, widths, dropout=0.0):
    """Return a network of convolutions, each with BatchNormalization and ReLU6."""
    inputs = x = keras.Input(shape)
    for index, width in enumerate(widths):
        x = kl.Conv2D(width, 3, 2 - index % 2, padding="same", use_bias=False)(x)
        x = kl.ReLU(6.0)(kl.BatchNormalization(momentum=0.9)(x))
    x = kl.Dropout(dropout)(kl.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, kl.Dense(10)(x))


def train(model, data, epochs, rate, callbacks=()):
    """Fit with a rate that falls along a cosine."""
    steps = epochs * -(-len(data[1]) // BATCH_SIZE)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile_on_cpu(),
    )
    callbacks = list(callbacks)
    model.fit(*data, batch_size=BATCH_SIZE, epochs=epochs, verbose=0, callbacks=callbacks)


def load(folder):
    """Return the spoken digits, for training and for the test."""
    with np.load(folder / "digits.npz") as file:
        return (file["x"], file["y"]), (file["x_test"], file["y_test"])


def accuracy(model, test):
    """Return the share of examples that get their label."""
    logits = model.predict(test[0], batch_size=256, verbose=0)
    return float(np.mean(logits.argmax(-1) == test[1]))


def teach(folder, epochs):
    """Train the teacher of all backends, and save it; return its accuracy."""
    data, test = load(folder)
    keras.utils.set_random_seed(1000)
    teacher = network(data[0].shape[1:], TEACHER_WIDTHS, dropout=0.2)
    train(teacher, data, epochs, 4e-3)
    teacher.save(folder / "teacher.keras")
    return {"accuracy": accuracy(teacher, test)}


def compress(folder, seed, epochs):
    """Train a student; compress it with all three techniques, export it, and run its file."""
    data, test = load(folder)
    teacher = keras.saving.load_model(folder / "teacher.keras", compile=False)
    keras.utils.set_random_seed(seed)
    start = time.perf_counter()
    student = network(data[0].shape[1:], STUDENT_WIDTHS)
    train(student, data, epochs, 4e-3)
    float_accuracy = accuracy(student, test)
    quantized = tfc.quantize_aware(student)
    distiller = tfc.Distiller(quantized, teacher, tfc.SoftLabels(TEMPERATURE))
    steps = epochs * -(-len(data[1]) // BATCH_SIZE)
    schedule = tfc.PolynomialDecay(0.0, SPARSITY, 0, steps * 3 // 5, frequency=FREQUENCY)
    train(distiller, data, epochs, 3e-3, [tfc.MagnitudePruning(schedule)])
    path = folder / f"{BACKEND}_{seed}.tflite"
    exported = tfc.export_tflite(quantized, path, validation_data=test, progress=False)
    agreement = exported.report.agreement
    (output,) = agreement.ran[0].outputs
    kernels = [keras.ops.convert_to_numpy(k.variable) for k in prunable_kernels(student)]
    return {
        "version": importlib.metadata.version(BACKEND),
        "float_accuracy": float_accuracy,
        "accuracy": agreement.metric,
        "sparsity": sum((k == 0).sum() for k in kernels) / sum(k.size for k in kernels),
        "float_operations": len(exported.report.float_operations),
        "outputs": 10 * agreement.examples,
        "different": round((1.0 - output.equal) * 10 * agreement.examples),
        "kernels": agreement.ran[0].kernels,
        "train_and_export_s": time.perf_counter() - start,
    }


class Epochs(keras.callbacks.Callback):
    """Times epochs, and hands over after each; without a hook of batches, which Keras waits for.

    It must stand last among the callbacks, so that their work is within the measured time.
    """

    def __init__(self, turns, name):
        super().__init__()
        self._turns, self._name = turns, name
        self.times = {"clock": [], "processor": []}

    def on_epoch_begin(self, epoch, logs=None):
        """Start with the first epoch."""
        if not epoch:
            self._start = self._now()

    def on_epoch_end(self, epoch, logs=None):
        """Note the times, and start anew when it is this training's turn again."""
        for name, now in self._now().items():
            self.times[name].append(now - self._start[name])
        self._turns.hand_over(self._name)
        self._turns.wait(self._name)
        self._start = self._now()

    def _now(self):
        return {"clock": time.perf_counter(), "processor": time.process_time()}


def time_steps(model, steps, epochs):
    """Time epochs of a plain and of a pruned training in turns; the first ones compile."""
    rng = np.random.default_rng(0)
    build = MODELS[model]
    shape = build(keras).input_shape[1:]
    x = rng.random((TIMED_BATCH * steps, *shape), dtype=np.float32)
    y = rng.integers(0, 10, len(x))
    data = {"x": batches(x, y, TIMED_BATCH)}
    if BACKEND != "tensorflow":
        data = {"x": x, "y": y, "batch_size": TIMED_BATCH, "shuffle": False}
    schedule = tfc.PolynomialDecay(0.0, SPARSITY, 0, steps * epochs, frequency=FREQUENCY)
    callbacks = {"plain": [], "pruned": [tfc.MagnitudePruning(schedule)]}
    found = {}

    def work(name, turns):
        timer = Epochs(turns, name)
        plain = build(keras)
        plain.compile(
            "adam",
            "sparse_categorical_crossentropy",
            jit_compile=jit_compile_on_cpu(),
        )
        plain.fit(**data, epochs=epochs, verbose=0, callbacks=[*callbacks[name], timer])
        found[name] = {kind: np.divide(t, steps).tolist() for kind, t in timer.times.items()}

    take_turns({name: lambda turns, name=name: work(name, turns) for name in callbacks})
    return found


if __name__ == "__main__":
    call = json.loads(sys.argv[1])
    work = {"teach": teach, "compress": compress, "time_steps": time_steps}[call.pop("work")]
    if "folder" in call:
        call["folder"] = pathlib.Path(call["folder"])
    print(json.dumps(work(**call)))
