"""Whether the layers that `xnnpack_policy` selects run faster, on this machine, when sparse.

MobileNetV2 is converted to float TFLite files, dense and sparse: at 97x97, where the policy selects
its 1x1 convolutions, and at 96x96, where it says that uneven padding keeps them dense. The four
take turns in the interpreter, on one thread.

    python benchmarks/pruning_xnnpack.py --sparsity 0.8 --json pruning_xnnpack.json
"""

import argparse
import json
import os
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.pruning import L1, Element, xnnpack_policy
from tfcompress.pruning.pruner import Pruner
from tfcompress.pruning.sparsity_distribution import PerLayer


def pointwise_kernels(model):
    """Return all 1x1 kernels, selected or not: the comparison is on the same zeros."""
    return [k for k in find_kernels(model) if k.variable.shape[:2] == (1, 1)]


def convert(model, sparse):
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if sparse:
            converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
        return converter.convert()


def prepare(size, alpha, sparsity):
    """Return the number of layers selected, and (name, file) of the dense and sparse encoding."""
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2((size, size, 3), alpha=alpha, weights=None, classes=10)
    selected = len(xnnpack_policy(model, sparsity).selected)
    kernels = pointwise_kernels(model)
    pruner = Pruner(model, kernels, Element(), L1(), PerLayer((1.0,) * len(kernels)))
    pruner.update(sparsity)
    inputs = keras.Input(batch_shape=(1, size, size, 3))
    static = keras.Model(inputs, model(inputs))
    return selected, [
        (f"{size}x{size} {kind}", convert(static, kind == "sparse")) for kind in ("dense", "sparse")
    ]


def make_run(file):
    interpreter = Interpreter(model_content=file, num_threads=1)
    interpreter.allocate_tensors()
    (details,) = interpreter.get_input_details()
    data = np.random.default_rng(0).random(details["shape"], dtype=np.float32)

    def run():
        interpreter.set_tensor(details["index"], data)
        start = time.perf_counter()
        interpreter.invoke()
        return time.perf_counter() - start

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sparsity", type=float, default=0.8)
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()
    result, runs = {}, {}
    for size in (97, 96):
        selected, files = prepare(size, arguments.alpha, arguments.sparsity)
        for name, file in files:
            runs[name] = make_run(file), []
            result[name] = {"layers_selected": selected, "bytes": len(file)}
    for _ in range(arguments.rounds):
        for run, times in runs.values():
            times.append(run())
    for name, (_, times) in runs.items():
        result[name]["latency_s"] = statistics.median(times)
        print(
            f"{name:16}{result[name]['layers_selected']:4d} layers selected"
            f"{result[name]['bytes']:12,d} bytes{1000 * result[name]['latency_s']:9.2f} ms"
        )
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
