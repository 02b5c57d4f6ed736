"""What pruning costs in accuracy: sign digits and MNIST, ours beside TFMOT's.

For each seed a model is trained dense on Keras 3. Its weights are then the start of two trainings
at each sparsity, with the same schedule, data, optimizer and number of epochs: MagnitudePruning on
Keras 3, and TFMOT on tf_keras, in the same architecture. Reported is the accuracy on held-out data,
mean and standard deviation over the seeds, and the sparsity of the kernels that both prune.

    python benchmarks/pruning_accuracy.py --seeds 5 --json pruning_accuracy.json
    python benchmarks/pruning_accuracy.py --fast
"""

import argparse
import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras
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


def prune_ours(build, weights, sparsity, data, test, epochs, batch, seed):
    keras.utils.set_random_seed(seed)
    model = compiled(keras, build(keras))
    model.set_weights(weights)
    steps = epochs * -(-len(data[0]) // batch)
    schedule = PolynomialDecay(0.0, sparsity, 0, steps * 2 // 3, frequency=FREQUENCY)
    model.fit(*data, batch, epochs, verbose=0, callbacks=[MagnitudePruning(schedule)])
    return model.evaluate(*test, verbose=0)[1], kernel_sparsity(model.get_weights())


def prune_tfmot(build, weights, sparsity, data, test, epochs, batch, seed):
    tf_keras.utils.set_random_seed(seed)
    model = build(tf_keras)
    model.set_weights(weights)
    steps = epochs * -(-len(data[0]) // batch)
    # Its updates fall on multiples of the frequency alone: the end must be one.
    end = steps * 2 // 3 // FREQUENCY * FREQUENCY
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, sparsity, 0, end, frequency=FREQUENCY)
    wrapped = compiled(tf_keras, tfmot.sparsity.keras.prune_low_magnitude(model, schedule))
    callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
    wrapped.fit(*data, batch, epochs, verbose=0, callbacks=callbacks)
    accuracy = wrapped.evaluate(*test, verbose=0)[1]
    return accuracy, kernel_sparsity(tfmot.sparsity.keras.strip_pruning(wrapped).get_weights())


def run(name, build, data, test, arguments, seeds):
    """Return rows of (data set, sparsity, method, accuracy and sparsity of each seed)."""
    found = {("dense", 0.0): []}
    for seed in range(seeds):
        keras.backend.clear_session()
        tf_keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        dense = compiled(keras, build(keras))
        dense.fit(*data, arguments["batch"], arguments["dense_epochs"], verbose=0)
        weights = dense.get_weights()
        found["dense", 0.0].append((dense.evaluate(*test, verbose=0)[1], 0.0))
        for sparsity in SPARSITIES:
            for method, prune in (("ours", prune_ours), ("TFMOT", prune_tfmot)):
                result = prune(
                    build,
                    weights,
                    sparsity,
                    data,
                    test,
                    arguments["epochs"],
                    arguments["batch"],
                    seed,
                )
                found.setdefault((method, sparsity), []).append(result)
    return [
        {"data": name, "method": method, "target": sparsity, "runs": runs}
        for (method, sparsity), runs in found.items()
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, help="5 by default, 2 when fast")
    parser.add_argument("--fast", action="store_true", help="fewer seeds, shorter trainings")
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        parser.error("needs the data sets in shared/data beside the project")
    seeds = arguments.seeds or (2 if arguments.fast else 5)
    start = time.perf_counter()
    short = {"batch": 64, "dense_epochs": 3, "epochs": 4}
    rows = run(
        "MNIST, LeNet",
        lenet,
        *mnist(5000 if arguments.fast else 20000),
        short if arguments.fast else {"batch": 128, "dense_epochs": 5, "epochs": 5},
        seeds,
    )
    rows += run(
        "sign digits, sign net",
        sign_net,
        *sign_digits(),
        {"batch": 32, "dense_epochs": 8, "epochs": 6}
        if arguments.fast
        else {"batch": 32, "dense_epochs": 20, "epochs": 12},
        seeds,
    )
    print(f"{'data':24}{'method':8}{'target':>8}{'sparsity':>10}{'accuracy':>10}{'deviation':>11}")
    for row in rows:
        accuracy, sparsity = zip(*row["runs"], strict=True)
        row["accuracy"] = statistics.mean(accuracy)
        row["deviation"] = statistics.stdev(accuracy) if seeds > 1 else 0.0
        row["sparsity"] = statistics.mean(sparsity)
        print(
            f"{row['data']:24}{row['method']:8}{row['target']:8.0%}{row['sparsity']:10.2%}"
            f"{row['accuracy']:10.2%}{row['deviation']:11.2%}"
        )
    print(f"{seeds} seeds, {time.perf_counter() - start:.0f} s")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)


if __name__ == "__main__":
    main()
