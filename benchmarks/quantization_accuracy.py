"""What quantization costs in accuracy: .tflite files in the interpreter, four data sets.

For each seed a model is trained dense on Keras 3. Its weights are then the start of every method,
which all have the same data, batches, rate and number of epochs:

- float: trained on in float, and converted as it is;
- PTQ, PTQ 4-bit: that model, quantized after training;
- QAT: trained on with `quantize_aware`;
- TFMOT: trained on with TFMOT's `quantize_model`, on tf_keras, in the same architecture;
- QAT 4-bit: trained on by `tfc.recipe(model, bits=4, teacher=None)`, and QAT 4-bit, taught: by that
  recipe with a teacher, a larger net where these data give a better one, otherwise the net as it
  was;
- QAT two precisions: 4-bit weights where a table of sensitivities says that they cost least, and
  60 % of the bytes of 8-bit ones for all weights.

Reported is the accuracy on held-out data: mean and standard deviation over the seeds. Numbers are
chosen with --develop, which holds out a fifth of the training data instead. With --rows, finished
pieces of work are kept in a file, and an interrupted run goes on. A peer that is not installed is
left out, and said to be.

    python benchmarks/quantization_accuracy.py --rows rows.jsonl --json quantization_accuracy.json
    python benchmarks/quantization_accuracy.py --fast
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from accuracy_tasks import (
    TASKS,
    accuracy,
    calibration,
    dense_weights,
    fit,
    kept_weights,
    make_tasks,
    our_file,
    started,
)
from distillation_accuracy import MIXED_TASK, separable_net, train_on_mixtures
from finished_rows import FinishedRows
from peers import those_present
from quiet_converter import convert_quantized
from training_data import SHARED

import tfcompress as tfc
from exporters.converting import convert_model
from exporters.report import gzip_size
from tfcompress.tflite.editing import compact

WEIGHT_BUDGET = 0.6
TEACHER_WIDTHS = [32, 64, 96, 128]
LARGER_TEACHERS = {"sign digits, sign net", "spoken digits, DS-CNN"}


def after_training(quantization):
    def method(task, weights, seed, kept):
        model = fit(keras, task, started(keras, task, weights), seed, task.epochs)
        return our_file(task, model, quantization)

    return method


def quantization_aware(task, weights, seed, kept):
    return trained_file(task, started(keras, task, weights), tfc.Scheme.int8(), seed)


def trained_file(task, model, scheme, seed):
    quantized = tfc.quantize_aware(model, scheme)
    return compact(convert_model(fit(keras, task, quantized, seed, task.epochs)).flatbuffer)


def of_4_bits(taught):
    def method(task, weights, seed, kept):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=task.logits)
        recipe = tfc.recipe(
            started(keras, task, weights),
            steps_per_epoch=task.steps_per_epoch,
            epochs=task.epochs,
            bits=4,
            teacher=teacher_of(task, kept) if taught else None,
            loss=loss,
        )
        recipe = dataclasses.replace(recipe, learning_rate=task.rate)
        keras.utils.set_random_seed(seed)
        recipe.model.compile(recipe.optimizer, loss, jit_compile=False)
        recipe.model.fit(task.batches(seed), epochs=recipe.epochs, verbose=0)
        return compact(convert_model(recipe.model).flatbuffer)

    return method


def teacher_of(task, kept):
    """Return the teacher of a data set's nets, trained once."""
    if task.name not in LARGER_TEACHERS:
        return "self"
    teacher = separable_net(task.data[0].shape[1:], TEACHER_WIDTHS, dropout=0.1)

    def train():
        # What a teacher of mixtures says of its own examples is softer.
        train_on_mixtures(teacher, MIXED_TASK, task.data, task.dense_epochs, 1000, 0.5)
        return teacher.get_weights()

    teacher.set_weights(kept_weights(kept("teacher"), train))
    return teacher


def two_precisions(task, weights, seed, kept):
    model = started(keras, task, weights)
    seen = calibration(task)
    table = tfc.sensitivity(model, seen, sparsities=(), bits=(8, 4), progress=False)
    scheme = tfc.choose_precisions(table, WEIGHT_BUDGET).scheme
    return trained_file(task, model, scheme, seed)


def with_tfmot(task, weights, seed, kept):
    import tensorflow_model_optimization as tfmot
    import tf_keras

    tf_keras.backend.clear_session()
    model = tfmot.quantization.keras.quantize_model(started(tf_keras, task, weights))
    return convert_quantized(fit(tf_keras, task, model, seed, task.epochs))


METHODS = {
    "float": after_training("float32"),
    "PTQ": after_training("int8"),
    "QAT": quantization_aware,
    "TFMOT": with_tfmot,
    "PTQ 4-bit": after_training(tfc.Scheme.int4_weights()),
    "QAT 4-bit": of_4_bits(taught=False),
    "QAT 4-bit, taught": of_4_bits(taught=True),
    "QAT two precisions": two_precisions,
}
PEERS = {"TFMOT": "TFMOT"}


def for_development(task):
    """Return a task whose test is a fifth of its training data."""
    order = np.random.default_rng(0).permutation(len(task.data[0]))
    test, training = np.split(order, [len(order) // 5])
    x, y = task.data
    return dataclasses.replace(task, data=(x[training], y[training]), test=(x[test], y[test]))


def run(name, task, methods, seed, rows, kept):
    """Add the rows of a data set and a seed that are not done yet."""
    missing = [
        method for method in methods if rows.find(data=task.name, seed=seed, method=method) is None
    ]
    if not missing:
        return

    def file(of):
        return kept and kept.with_name(f"{kept.name}.{of}_{name}.npz")

    start = seed if task.weights is None else 0
    weights = dense_weights(task, start, file(f"dense_{start}"))
    for method in missing:
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)  # and TensorFlow's, for tf_keras
        begin = time.perf_counter()
        content = METHODS[method](task, weights, seed, file)
        row = rows.add(
            data=task.name,
            seed=seed,
            method=method,
            accuracy=accuracy(content, task.test),
            bytes=len(content),
            gzip_bytes=gzip_size(content),
            seconds=time.perf_counter() - begin,
            batch=task.batch,
            epochs=task.dense_epochs,
            further_epochs=task.epochs,
        )
        print(f"{task.name:24}seed {seed}  {method:20}{row['accuracy']:8.2%}", flush=True)


def summarize(rows):
    """Print, and return, the mean and deviation of each data set and method."""
    groups = {}
    for row in rows:
        groups.setdefault((row["data"], row["method"]), []).append(row)
    table = []
    print(f"{'data':24}{'method':20}{'accuracy':>10}{'deviation':>11}{'seeds':>7}")
    for (data, method), runs in sorted(groups.items()):
        found = [run["accuracy"] for run in runs]
        deviation = statistics.stdev(found) if len(found) > 1 else 0.0
        table.append(
            {
                "data": data,
                "method": method,
                "accuracy": statistics.mean(found),
                "deviation": deviation,
                "gzip_bytes": statistics.mean(run["gzip_bytes"] for run in runs),
                "runs": [{k: r[k] for k in ("seed", "accuracy", "bytes")} for r in runs],
            }
        )
        print(f"{data:24}{method:20}{statistics.mean(found):10.2%}{deviation:11.2%}{len(found):7}")
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, help="5 by default, 2 when fast")
    parser.add_argument("--fast", action="store_true", help="fewer seeds, shorter trainings")
    parser.add_argument("--develop", action="store_true", help="on a fifth of the training data")
    parser.add_argument("--only", choices=TASKS, help="one data set alone")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--rows", type=pathlib.Path, help="keeps finished work, to go on from")
    parser.add_argument("--json", help="where to write the summary")
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        parser.error("needs the data sets in shared/data beside the project")
    # The dense start of a seed is the same when the work goes on after an interruption.
    tf.config.experimental.enable_op_determinism()
    seeds = arguments.seeds or (2 if arguments.fast else 5)
    methods, left_out = those_present(arguments.methods, PEERS)
    rows = FinishedRows(arguments.rows, ("data", "seed", "method"))
    chosen = make_tasks(
        TASKS if arguments.only is None else [arguments.only], SHARED, arguments.fast
    )
    if arguments.develop:
        chosen = {name: for_development(task) for name, task in chosen.items()}
    for seed in range(seeds):
        for name, task in chosen.items():
            run(name, task, methods, seed, rows, arguments.rows)
    table = summarize(rows.rows)
    table += [
        {"data": task.name, "method": method, "left_out": reason}
        for task in chosen.values()
        for method, reason in left_out.items()
    ]
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(table, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
