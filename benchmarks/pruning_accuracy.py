"""What pruning costs in accuracy: sign digits and MNIST, ours beside TFMOT's.

For each seed a model is trained dense on Keras 3. Its weights are then the start of two trainings
at each sparsity, with the same schedule, data, optimizer and number of epochs: MagnitudePruning on
Keras 3, and TFMOT on tf_keras, in the same architecture; and of two trainings as long without
pruning, one on each library. Reported is the accuracy on held-out data, mean and standard deviation
over the seeds, and the sparsity of the kernels that both prune.

    python benchmarks/pruning_accuracy.py --seeds 5 --json pruning_accuracy.json
    python benchmarks/pruning_accuracy.py --fast
"""

import argparse
import dataclasses
import importlib
import json
import os
import statistics
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from finished_rows import FinishedRows
from peers import those_present
from small_nets import lenet, sign_net
from training_data import SHARED, mnist, sign_digits

from keras_callbacks import MagnitudePruning
from tfcompress.pruning import PolynomialDecay

SPARSITIES = (0.5, 0.75, 0.9)
FREQUENCY = 10


def compiled(library, model):
    model.compile(
        library.optimizers.Adam(1e-3),
        library.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def kernel_sparsity(weights):
    """Return the share of zeros in kernels that are not depthwise; those are (3, 3, n, 1)."""
    kernels = [w for w in weights if w.ndim >= 2 and not (w.ndim == 4 and w.shape[3] == 1)]
    return sum(np.count_nonzero(k == 0) for k in kernels) / sum(k.size for k in kernels)


def trained_further(name, task, weights, seed):
    """Train the dense model on a library, for as long as the others are pruned."""
    library = importlib.import_module(name)
    library.utils.set_random_seed(seed)
    model = compiled(library, task.build(library))
    model.set_weights(weights)
    model.fit(*task.data, task.batch, task.epochs, verbose=0)
    return model.evaluate(*task.test, verbose=0)[1], 0.0


def prune_ours(task, weights, sparsity, seed):
    keras.utils.set_random_seed(seed)
    model = compiled(keras, task.build(keras))
    model.set_weights(weights)
    schedule = PolynomialDecay(0.0, sparsity, 0, task.steps * 2 // 3, frequency=FREQUENCY)
    callbacks = [MagnitudePruning(schedule)]
    model.fit(*task.data, task.batch, task.epochs, verbose=0, callbacks=callbacks)
    return model.evaluate(*task.test, verbose=0)[1], kernel_sparsity(model.get_weights())


def prune_tfmot(task, weights, sparsity, seed):
    import tensorflow_model_optimization as tfmot
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    model = task.build(tf_keras)
    model.set_weights(weights)
    # Its updates fall on multiples of the frequency alone: the end must be one.
    end = task.steps * 2 // 3 // FREQUENCY * FREQUENCY
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, sparsity, 0, end, frequency=FREQUENCY)
    wrapped = compiled(tf_keras, tfmot.sparsity.keras.prune_low_magnitude(model, schedule))
    callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
    wrapped.fit(*task.data, task.batch, task.epochs, verbose=0, callbacks=callbacks)
    accuracy = wrapped.evaluate(*task.test, verbose=0)[1]
    return accuracy, kernel_sparsity(tfmot.sparsity.keras.strip_pruning(wrapped).get_weights())


METHODS = {
    ("Keras 3, dense", 0.0): lambda *args: trained_further("keras", *args),
    ("tf_keras, dense", 0.0): lambda *args: trained_further("tf_keras", *args),
}
for _sparsity in SPARSITIES:
    METHODS["ours", _sparsity] = lambda task, weights, seed, s=_sparsity: prune_ours(
        task, weights, s, seed
    )
    METHODS["TFMOT", _sparsity] = lambda task, weights, seed, s=_sparsity: prune_tfmot(
        task, weights, s, seed
    )
PEERS = {"TFMOT": "TFMOT", "tf_keras, dense": "TFMOT"}


@dataclasses.dataclass(frozen=True)
class Task:
    """A data set, a network for it, and how long it is trained."""

    name: str
    build: Callable
    data: tuple
    test: tuple
    batch: int
    dense_epochs: int
    epochs: int

    @property
    def steps(self):
        """The steps of the training that prunes."""
        return self.epochs * -(-len(self.data[0]) // self.batch)


def run_seed(task, methods, seed, rows):
    """Add a row for each (method, target) that has none yet."""
    key = {"data": task.name, "seed": seed, "epochs": task.epochs}
    missing = [
        (method, target)
        for method, target in methods
        if rows.find(method=method, target=target, **key) is None
    ]
    if not missing:
        return
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    dense = compiled(keras, task.build(keras))
    dense.fit(*task.data, task.batch, task.dense_epochs, verbose=0)
    weights = dense.get_weights()
    for method, target in missing:
        accuracy, sparsity = METHODS[method, target](task, weights, seed)
        rows.add(method=method, target=target, accuracy=accuracy, sparsity=sparsity, **key)


def summarize(rows, tasks, methods, seeds):
    """Print and return means and deviations over the seeds."""
    print(f"{'data':24}{'method':18}{'target':>8}{'sparsity':>10}{'accuracy':>10}{'deviation':>11}")
    summary = []
    for task in tasks:
        for method, target in methods:
            found = [
                rows.find(data=task.name, seed=s, epochs=task.epochs, method=method, target=target)
                for s in range(seeds)
            ]
            accuracy = [row["accuracy"] for row in found]
            row = {
                "data": task.name,
                "method": method,
                "target": target,
                "sparsity": statistics.mean(row["sparsity"] for row in found),
                "accuracy": statistics.mean(accuracy),
                "deviation": statistics.stdev(accuracy) if seeds > 1 else 0.0,
                "seeds": accuracy,
            }
            summary.append(row)
            print(
                f"{task.name:24}{method:18}{target:8.0%}{row['sparsity']:10.2%}"
                f"{row['accuracy']:10.2%}{row['deviation']:11.2%}"
            )
    return summary


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, help="5 by default, 2 when fast")
    parser.add_argument("--fast", action="store_true", help="fewer seeds, shorter trainings")
    parser.add_argument("--only", choices=["mnist", "signs"], help="one data set alone")
    parser.add_argument("--rows", help="file of finished work, to go on from after an interruption")
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        parser.error("needs the data sets in shared/data beside the project")
    # The dense start of a seed is the same when the work goes on after an interruption.
    tf.config.experimental.enable_op_determinism()
    fast = arguments.fast
    seeds = arguments.seeds or (2 if fast else 5)
    tasks = {
        "mnist": lambda: Task(
            "MNIST, LeNet",
            lenet,
            *mnist(5000 if fast else 20000),
            *((64, 3, 4) if fast else (128, 5, 5)),
        ),
        "signs": lambda: Task(
            "sign digits, sign net", sign_net, *sign_digits(), 32, *((8, 6) if fast else (20, 12))
        ),
    }
    chosen = [make() for name, make in tasks.items() if arguments.only in (None, name)]
    rows = FinishedRows(arguments.rows, ("data", "seed", "epochs", "method", "target"))
    present, left_out = those_present(list(dict.fromkeys(method for method, _ in METHODS)), PEERS)
    methods = [(method, target) for method, target in METHODS if method in present]
    for task in chosen:
        for seed in range(seeds):
            run_seed(task, methods, seed, rows)
    summary = summarize(rows, chosen, methods, seeds)
    summary += [{"method": method, "left_out": reason} for method, reason in left_out.items()]
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(summary, file, indent=2)


if __name__ == "__main__":
    main()
