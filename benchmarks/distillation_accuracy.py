"""What distillation gains in accuracy: sign digits and spoken digits, over seeds.

For each data set one teacher is trained. For each seed the same small student, from the same
initial weights, is trained alone and with the teacher's cached outputs; then the student that was
trained alone is fine-tuned quantization-aware, plainly and with its float self as the teacher. Last
it is trained on mixtures of two examples each, with mixed labels and with what the teacher says of
the mixture (Beyer et al., "Knowledge distillation: A good teacher is patient and consistent",
2022), which no cache can hold. Reported are mean and standard deviation of the test accuracy over
the seeds. Settings were chosen on examples apart from the test's: takes 5 to 9 of the spoken
digits, a quarter of the training photos.

    python benchmarks/distillation_accuracy.py                # five seeds, some minutes
    python benchmarks/distillation_accuracy.py --fast         # two seeds, few epochs: does it run?
"""

import argparse
import json
import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from finished_rows import FinishedRows
from keras import layers
from training_data import SHARED, spoken_digits

import tfcompress as tfc
from tfcompress.distillation import SoftLabels

TASK = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
MIXED_TASK = keras.losses.CategoricalCrossentropy(from_logits=True)
TEMPERATURE = 4.0
BATCH_SIZE = 64


def sign_digits(folder=SHARED):
    """Photos of hands at 32x32: (x_train, y_train), (x_test, y_test), the test a fifth."""
    with np.load(folder / "sign_digits_64_rgb.npz") as file:
        x, y = file["x"].astype("float32") / 127.5 - 1.0, file["y"].astype("int64")
    x = x.reshape(len(x), 32, 2, 32, 2, 3).mean((2, 4))
    order = np.random.default_rng(0).permutation(len(x))
    test, train = np.split(order, [412])
    return (x[train], y[train]), (x[test], y[test])


def separable_net(shape, widths, dropout=0.0, name=None):
    """A DS-CNN: a convolution, then depthwise-separable blocks, then the mean over positions."""
    inputs = keras.Input(shape)
    x = layers.Conv2D(widths[0], 3, strides=2, padding="same", use_bias=False)(inputs)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(x))
    for index, width in enumerate(widths[1:]):
        x = layers.DepthwiseConv2D(3, strides=1 + index % 2, padding="same", use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.Conv2D(width, 1, use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(10)(x), name=name)


def train(model, data, examples, epochs, rate=4e-3):
    """Fit with a rate that falls along a cosine; the order of the batches follows the seed."""
    steps = epochs * -(-examples // BATCH_SIZE)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(keras.optimizers.Adam(schedule), TASK, jit_compile=False)
    arrays = {"batch_size": BATCH_SIZE} if len(data) == 2 else {}
    model.fit(*data, epochs=epochs, verbose=0, **arrays)


def train_on_mixtures(model, loss, data, epochs, seed, least_share=0.0):
    """Fit to mixtures of two examples each, with shares of the first from the least one to 1.

    Method: Zhang et al., "mixup: beyond empirical risk minimization", 2018.
    """
    x, y = data[0].astype("float32"), tf.one_hot(data[1], 10)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=seed)

    def mixed(x, y):
        share = tf.random.uniform([tf.shape(x)[0], 1, 1, 1], least_share, 1.0, seed=seed)
        x = share * x + (1.0 - share) * tf.roll(x, 1, 0)
        share = share[:, :, 0, 0]
        return x, share * y + (1.0 - share) * tf.roll(y, 1, 0)

    steps = epochs * (len(x) // BATCH_SIZE)
    schedule = keras.optimizers.schedules.CosineDecay(4e-3, steps)
    model.compile(keras.optimizers.Adam(schedule), loss, jit_compile=False)
    batches = batches.batch(BATCH_SIZE, drop_remainder=True).map(mixed)
    model.fit(batches, epochs=epochs, verbose=0)


def accuracy(model, test):
    """The share of test examples that get their label, in percent."""
    logits = model.predict(test[0], batch_size=256, verbose=0)
    return 100.0 * float(np.mean(logits.argmax(-1) == test[1]))


def on_examples(seed, widths, teacher, cache, train_data, test, options):
    """Return {method: accuracy} for one seed: examples as they are, the teacher's outputs kept."""
    del teacher
    shape = train_data[0].shape[1:]
    scores, examples = {}, len(train_data[1])
    keras.utils.set_random_seed(seed)
    alone = separable_net(shape, widths, name="student")
    initial = alone.get_weights()
    train(alone, train_data, examples, options.epochs)
    scores["student alone"] = accuracy(alone, test)

    keras.utils.set_random_seed(seed)
    student = separable_net(shape, widths, name="student")
    student.set_weights(initial)
    distiller = tfc.Distiller(student, cache, SoftLabels(TEMPERATURE), task_weight=0.1)
    attached = cache.attach(*train_data, batch_size=BATCH_SIZE, seed=seed)
    train(distiller, (attached,), examples, options.epochs)
    scores["student distilled"] = accuracy(student, test)

    for method, scheme in SCHEMES.items():
        for self_distilled in (False, True):
            keras.utils.set_random_seed(seed)
            copy = keras.models.clone_model(alone)
            copy.set_weights(alone.get_weights())
            model = quantized = tfc.quantize_aware(copy, scheme)
            if self_distilled:
                model = tfc.Distiller(quantized, "self", SoftLabels(TEMPERATURE), task_weight=0.1)
            train(model, train_data, examples, options.qat_epochs, rate=4e-4)
            label = f"{method}, self-distilled" if self_distilled else method
            scores[label] = accuracy(quantized, test)
    return scores


def on_mixtures(seed, widths, teacher, cache, train_data, test, options):
    """Return {method: accuracy} for one seed: a student that never sees a mixture twice."""
    del cache
    shape, scores = train_data[0].shape[1:], {}
    for method in ("alone", "distilled"):
        keras.utils.set_random_seed(seed)
        student = model = separable_net(shape, widths, name="student")
        if method == "distilled":
            model = tfc.Distiller(student, teacher, SoftLabels(2.0), task_weight=0.0)
        train_on_mixtures(model, MIXED_TASK, train_data, options.epochs, seed)
        scores[f"student {method}, mixtures"] = accuracy(student, test)
    return scores


def run(name, rows, options):
    """Do what is not done yet for one data set."""
    keys = {"data": name, "epochs": options.epochs, "qat_epochs": options.qat_epochs}
    missing = [
        (seed, part)
        for part in PARTS
        for seed in range(options.seeds)
        if rows.find(seed=seed, part=part, **keys) is None
    ]
    if not missing:
        return
    load, teacher_widths, widths = TASKS[name]
    train_data, test = load()
    keras.utils.set_random_seed(1000)
    shape = train_data[0].shape[1:]
    teacher = separable_net(shape, teacher_widths, dropout=0.1, name="teacher")
    # What a teacher of mixtures says of its own examples is softer.
    train_on_mixtures(teacher, MIXED_TASK, train_data, options.teacher_epochs, 1000, 0.5)
    best = accuracy(teacher, test)
    with tempfile.TemporaryDirectory() as path:
        cache = tfc.cache_teacher(teacher, train_data[0], f"{path}/cache", progress=False)
        for seed, part in missing:
            scores = PARTS[part](seed, widths, teacher, cache, train_data, test, options)
            rows.add(seed=seed, part=part, **keys, scores={"teacher": best, **scores})


def summarize(rows, name, options):
    """Print mean and standard deviation over the seeds; return them by method."""
    found = [
        row["scores"]
        for row in rows.rows
        if row["data"] == name and row["seed"] < options.seeds and row["epochs"] == options.epochs
    ]
    summary = {}
    for method in dict.fromkeys(method for row in found for method in row):
        scores = [row[method] for row in found if method in row]
        spread = float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
        summary[method] = {"mean": float(np.mean(scores)), "deviation": spread, "scores": scores}
        print(f"{name:<7} {method:<24} {np.mean(scores):6.2f} +- {spread:.2f}")
    return summary


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--teacher-epochs", type=int, default=40)
    parser.add_argument("--qat-epochs", type=int, default=6)
    parser.add_argument("--fast", action="store_true", help="two seeds and few epochs")
    parser.add_argument("--only", choices=list(TASKS), help="one data set alone")
    parser.add_argument("--rows", help="file of finished work, to go on from after an interruption")
    parser.add_argument("--json", help="also write the accuracies to this file")
    options = parser.parse_args()
    if options.fast:
        options.seeds, options.epochs, options.teacher_epochs, options.qat_epochs = 2, 4, 6, 1
    rows = FinishedRows(options.rows, ("data", "seed", "part", "epochs", "qat_epochs"))
    results = {}
    for name in TASKS if options.only is None else [options.only]:
        run(name, rows, options)
        results[name] = summarize(rows, name, options)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


TASKS = {
    "signs": (sign_digits, [32, 64, 96, 128], [16, 32, 48]),
    "spoken": (spoken_digits, [32, 64, 96, 128], [24, 24, 24, 24]),
}
PARTS = {"examples": on_examples, "mixtures": on_mixtures}
SCHEMES = {"QAT": tfc.Scheme.int8(), "QAT 4-bit": tfc.Scheme.int4_weights()}

if __name__ == "__main__":
    main()
