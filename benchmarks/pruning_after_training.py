"""Pruning of trained networks without training: `tfc.prune_weights` beside masks by magnitude.

Two models of MLPerf Tiny with the weights that the benchmark publishes: keyword spotting, on its
own samples, and image classification, on the validation images of the CIFAR-10 subset. Both ways
give the layers the same numbers of zeros (LAMP over the model); by magnitude, the weights that stay
are as they were. Each sparse model is then quantized after training, and the int8 file runs in the
interpreter. The accuracy is the mean over several choices of the 250 inputs that prune and
calibrate, all apart from those that judge.

    python benchmarks/pruning_after_training.py --json pruning_after_training.json
    python benchmarks/pruning_after_training.py --fast
"""

import argparse
import gzip
import json
import os
import pathlib
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from finished_rows import FinishedRows
from mlperf_tiny import TASKS, keywords
from training_data import SHARED, cifar10

import tfcompress as tfc
from exporters.converting import convert_model
from exporters.running.runtime import load
from tfcompress.pruning.sparsity_distribution import LayerAdaptive

SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9)
INPUTS = 250


def keyword_data(seed):
    """Return a quarter of the benchmark's samples without labels, and the others to judge on."""
    x, y = keywords(SHARED)
    x = x.reshape(-1, 49, 10, 1)
    order = np.random.default_rng(seed).permutation(len(x))
    seen, judging = np.split(order, [INPUTS])
    return x[seen], (x[judging], y[judging])


def image_data(seed):
    """Return some training images without labels, and the validation images."""
    (x, _), (x_validation, y_validation) = cifar10()
    seen = np.random.default_rng(seed).permutation(len(x))[:INPUTS]
    return x[seen].astype("float32"), (x_validation.astype("float32"), y_validation)


def by_magnitude(model, seen, sparsity):
    """Return a copy with masks by magnitude alone."""
    del seen
    pruned = keras.models.clone_model(model)
    pruned.set_weights(model.get_weights())
    kernels = [
        layer.kernel
        for layer in pruned.layers
        if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D)
        and not isinstance(layer, keras.layers.DepthwiseConv2D)
    ]
    weights = [np.asarray(kernel) for kernel in kernels]
    sizes = [np.ones(w.shape, int) for w in weights]
    masked = LayerAdaptive().choose([np.abs(w) for w in weights], sizes, sparsity)
    for kernel, values, zeros in zip(kernels, weights, masked, strict=True):
        kernel.assign(np.where(zeros, 0.0, values))
    return pruned


METHODS = {
    "by magnitude": by_magnitude,
    "prune_weights": tfc.prune_weights,
}
MODELS = {
    "keyword spotting, DS-CNN": ("kws", keyword_data),
    "image classification, ResNet-8": ("ic", image_data),
}


def measured(model, seen, judging):
    """Return the accuracy of the int8 file, and its bytes, raw and with gzip."""
    file = convert_model(model, "int8", representative_data=seen).flatbuffer
    with load(file) as loaded:
        (scores,) = loaded.predict(judging[0])
    accuracy = float(np.mean(scores.argmax(-1) == judging[1]))
    return {"accuracy": accuracy, "bytes": len(file), "gzipped": len(gzip.compress(file, 9))}


def run(name, seed, sparsities, rows):
    """Add the rows of a model and a choice of inputs that are not done yet."""
    key, data = MODELS[name]
    model = keras.models.load_model(SHARED.parent / "models" / "mlperf_tiny" / TASKS[key].model)
    seen, judging = data(seed)
    ways = [("dense", 0.0), *((method, s) for s in sparsities for method in METHODS)]
    for method, sparsity in ways:
        about = {"model": name, "seed": seed, "method": method, "sparsity": sparsity}
        if rows.find(**about) is None:
            keras.backend.clear_session()
            sparse = METHODS[method](model, seen, sparsity) if sparsity else model
            row = rows.add(**about, **measured(sparse, seen, judging))
            print(f"{name:32}{method:14}{sparsity:5.0%}{row['accuracy']:8.2%}", flush=True)


def summarize(rows):
    """Return the mean and deviation of each model, method and sparsity."""
    groups = {}
    for row in rows:
        groups.setdefault((row["model"], row["method"], row["sparsity"]), []).append(row)
    table = []
    for (model, method, sparsity), found in groups.items():
        accuracies = [row["accuracy"] for row in found]
        table.append(
            {
                "model": model,
                "method": method,
                "sparsity": sparsity,
                "accuracy": statistics.mean(accuracies),
                "deviation": statistics.stdev(accuracies) if len(found) > 1 else 0.0,
                "choices": len(found),
                "gzipped": round(statistics.mean(row["gzipped"] for row in found)),
            }
        )
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--choices", type=int, default=3, help="of the inputs that are seen")
    parser.add_argument("--fast", action="store_true", help="one model, one sparsity")
    parser.add_argument("--rows", type=pathlib.Path, help="keeps finished work, to go on from")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the summary")
    arguments = parser.parse_args()
    rows = FinishedRows(arguments.rows, ("model", "seed", "method", "sparsity"))
    models, choices, sparsities = list(MODELS), arguments.choices, SPARSITIES
    if arguments.fast:
        models, choices, sparsities = models[:1], 1, (0.7,)
    for seed in range(choices):
        for name in models:
            run(name, seed, sparsities, rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(summarize(rows.rows), indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
