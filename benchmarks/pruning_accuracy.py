"""What pruning costs in accuracy and leaves in bytes, ours beside TFMOT's: int8 files, three nets.

For each seed a model is trained dense on Keras 3. Its weights are then the start of trainings at
each sparsity, with the same schedule, data, optimizer and number of epochs: MagnitudePruning as it
is by default, and with the same sparsity in every kernel, on Keras 3, and TFMOT on tf_keras, in
the same architecture. Each result is quantized to int8 after training. "ours, recipe" is what
`tfc.recipe` makes for as many epochs: its own optimizer, quantization-aware, taught by the dense
net, from zeros that `tfc.prune_weights` has set before. Reported are the accuracy of the file on
held-out data and its bytes after gzip, mean and deviation over the seeds, and the sparsity of the
kernels that both prune. Trainings as long without pruning, on each library, stand beside them.

"signs" varies its photos, in dense training and pruning alike, and its rate decays: the settings,
of five tried, at which the dense net did best on a fifth of the training photos held out. "cifar"
prunes MLPerf Tiny's ResNet-8 in three epochs, after four in which it learns these photos, once for
all seeds.

    python benchmarks/pruning_accuracy.py --only cifar --seeds 5 --json pruning_accuracy.json
    python benchmarks/pruning_accuracy.py --fast
"""

import argparse
import importlib
import json
import pathlib
import statistics

import keras
import numpy as np
import tensorflow as tf
from accuracy_tasks import (
    TASKS,
    accuracy,
    dense_weights,
    fit,
    make_tasks,
    our_file,
    started,
    their_file,
)
from finished_rows import FinishedRows
from peers import those_present
from training_data import SHARED

import tfcompress as tfc
from exporters.converting import convert_model
from exporters.report import gzip_size
from keras_callbacks import MagnitudePruning
from tfcompress.pruning import PolynomialDecay
from tfcompress.tflite.editing import compact

SPARSITIES = (0.5, 0.75, 0.9)
FREQUENCY = 10


def kernel_sparsity(model):
    """Return the share of zeros in kernels that are not depthwise; those are (3, 3, n, 1)."""
    kernels = [w for w in model.get_weights() if w.ndim >= 2 and w.shape[3:] != (1,)]
    return sum(np.count_nonzero(k == 0) for k in kernels) / sum(k.size for k in kernels)


def trained_further(name, task, weights, sparsity, seed):
    """Train the dense model on a library, for as long as the others are pruned."""
    library = importlib.import_module(name)
    model = fit(library, task, started(library, task, weights), seed, task.epochs)
    return model, (our_file if library is keras else their_file)(task, model)


def pruned(task, weights, sparsity, seed, **arguments):
    schedule = PolynomialDecay(0.0, sparsity, 0, task.steps * 2 // 3, frequency=FREQUENCY)
    pruning = MagnitudePruning(schedule, **arguments)
    model = fit(keras, task, started(keras, task, weights), seed, task.epochs, [pruning])
    return model, our_file(task, model)


def pruned_uniformly(task, weights, sparsity, seed):
    return pruned(task, weights, sparsity, seed, sparsity_distribution="uniform")


def by_recipe(task, weights, sparsity, seed):
    """Prune, quantize and teach by `recipe`, from a net that `prune_weights` has made sparse."""
    dense = started(keras, task, weights)
    seen = task.data[0][:1024].astype("float32")
    model = tfc.prune_weights(dense, seen, min(sparsity, 0.8), max_examples=len(seen))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=task.logits)
    length = {"steps_per_epoch": task.steps_per_epoch, "epochs": task.epochs}
    made = tfc.recipe(model, **length, sparsity=sparsity, teacher=dense, loss=loss)
    keras.utils.set_random_seed(seed)
    made.model.compile(made.optimizer, loss, jit_compile=False)
    made.model.fit(task.batches(seed), epochs=made.epochs, verbose=0, callbacks=made.callbacks)
    return model, compact(convert_model(made.model).flatbuffer)


def pruned_by_tfmot(task, weights, sparsity, seed):
    import tensorflow_model_optimization as tfmot
    import tf_keras

    # Its updates fall on multiples of the frequency alone: the end must be one.
    end = task.steps * 2 // 3 // FREQUENCY * FREQUENCY
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, sparsity, 0, end, frequency=FREQUENCY)
    model = started(tf_keras, task, weights)
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(model, schedule)
    callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
    fit(tf_keras, task, wrapped, seed, task.epochs, callbacks)
    model = tfmot.sparsity.keras.strip_pruning(wrapped)
    return model, their_file(task, model)


PRUNING = {
    "ours": pruned,
    "ours, uniform": pruned_uniformly,
    "ours, recipe": by_recipe,
    "TFMOT": pruned_by_tfmot,
}
CONTROLS = {
    "Keras 3, dense": lambda *args: trained_further("keras", *args),
    "tf_keras, dense": lambda *args: trained_further("tf_keras", *args),
}
PEERS = {"TFMOT": "TFMOT", "tf_keras, dense": "TFMOT"}


def cases(present):
    """Return the (method, sparsity) of the methods that are present."""
    controls = [(method, 0.0) for method in CONTROLS]
    pruning = [(method, sparsity) for sparsity in SPARSITIES for method in PRUNING]
    return [case for case in controls + pruning if case[0] in present]


def run_seed(name, task, present, seed, rows, kept):
    """Add a row for each case that has none yet."""
    key = {"data": task.name, "seed": seed, "epochs": task.epochs}
    missing = [
        (method, target)
        for method, target in cases(present)
        if rows.find(method=method, target=target, **key) is None
    ]
    if not missing:
        return
    start = seed if task.weights is None else 0
    file = kept and kept.with_name(f"{kept.name}.dense_{name}_{start}.npz")
    weights = dense_weights(task, start, file)
    for method, target in missing:
        model, content = (CONTROLS | PRUNING)[method](task, weights, target, seed)
        row = rows.add(
            method=method,
            target=target,
            accuracy=accuracy(content, task.test),
            gzip_bytes=gzip_size(content),
            sparsity=kernel_sparsity(model),
            **key,
        )
        print(row, flush=True)


def summarize(rows, tasks, present, seeds):
    """Print and return means and deviations over the seeds."""
    print(f"{'data':24}{'method':18}{'target':>8}{'sparsity':>10}{'accuracy':>10}{'bytes':>8}")
    summary = []
    for task in tasks:
        for method, target in cases(present):
            found = [
                rows.find(data=task.name, seed=s, epochs=task.epochs, method=method, target=target)
                for s in range(seeds)
            ]
            accuracies = [row["accuracy"] for row in found]
            row = {
                "data": task.name,
                "method": method,
                "target": target,
                "sparsity": statistics.mean(row["sparsity"] for row in found),
                "accuracy": statistics.mean(accuracies),
                "deviation": statistics.stdev(accuracies) if seeds > 1 else 0.0,
                "gzip_bytes": statistics.mean(row["gzip_bytes"] for row in found),
                "seeds": accuracies,
            }
            summary.append(row)
            print(
                f"{task.name:24}{method:18}{target:8.0%}{row['sparsity']:10.2%}"
                f"{row['accuracy']:10.2%} ± {row['deviation']:.2%}{row['gzip_bytes']:10,.0f}"
            )
    return summary


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, help="5 by default, 2 when fast")
    parser.add_argument("--fast", action="store_true", help="fewer seeds, shorter trainings")
    parser.add_argument("--only", choices=TASKS, help="one data set alone")
    parser.add_argument("--data", type=pathlib.Path, default=SHARED, help="folder of the data sets")
    parser.add_argument(
        "--rows",
        type=pathlib.Path,
        help="file of finished work, to go on from after an interruption; dense starts lie beside",
    )
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()
    # The dense start of a seed is the same when the work goes on after an interruption.
    tf.config.experimental.enable_op_determinism()
    seeds = arguments.seeds or (2 if arguments.fast else 5)
    try:
        names = TASKS if arguments.only is None else [arguments.only]
        chosen = make_tasks(names, arguments.data, arguments.fast)
    except FileNotFoundError as missing:
        parser.error(f"--data needs the data sets, shared/data beside the project: {missing}")
    rows = FinishedRows(arguments.rows, ("data", "seed", "epochs", "method", "target"))
    present, left_out = those_present([*CONTROLS, *PRUNING], PEERS)
    for seed in range(seeds):
        for name, task in chosen.items():
            run_seed(name, task, present, seed, rows, arguments.rows)
    summary = summarize(rows, chosen.values(), present, seeds)
    summary += [{"method": method, "left_out": reason} for method, reason in left_out.items()]
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(summary, file, indent=2)


if __name__ == "__main__":
    main()
