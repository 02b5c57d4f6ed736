"""What quantization costs in accuracy, run in the interpreter: sign digits, MNIST, spoken digits.

For each seed a float model is trained on Keras 3. Its weights are then the start of every method,
which all have the same data, optimizer, falling rate and number of epochs:

- float: trained on in float, and converted as it is;
- PTQ: that model, quantized after training;
- QAT: trained on with `quantize_aware`;
- TFMOT: trained on with TFMOT's `quantize_model`, on tf_keras, in the same architecture;
- PTQ 4-bit, QAT 4-bit: the same with weights of 4 bits;
- QAT two precisions: 4-bit weights where a table of sensitivities says that they cost least, and
  60 % of the bytes of 8-bit ones for all weights.

Reported is the accuracy of the .tflite files on held-out data: mean and standard deviation over the
seeds. With --rows, finished pieces of work are kept in a file, and an interrupted run goes on. A
peer that is not installed is left out, and said to be.

    python benchmarks/quantization_accuracy.py --rows rows.jsonl --json quantization_accuracy.json
    python benchmarks/quantization_accuracy.py --fast
"""

import argparse
import json
import os
import pathlib
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from finished_rows import FinishedRows
from peers import those_present
from quiet_converter import convert_quantized
from small_nets import keyword_net, lenet, sign_net
from training_data import SHARED, mnist, sign_digits, spoken_digits

import tfcompress as tfc
from exporters.converting import convert_model
from exporters.running.runtime import load

RATE, FINE_RATE = 2e-3, 2e-4
CALIBRATION = 200
WEIGHT_BUDGET = 0.6


def fit(library, model, data, batch, epochs, rate):
    """Train with a rate that falls along a cosine."""
    steps = epochs * -(-len(data[0]) // batch)
    schedule = library.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(
        library.optimizers.Adam(schedule),
        library.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(*data, batch, epochs, verbose=0)


def start(library, build, weights):
    model = build(library)
    model.set_weights(weights)
    return model


def post_training(quantization):
    def method(build, weights, data, batch, epochs):
        model = start(keras, build, weights)
        fit(keras, model, data, batch, epochs, FINE_RATE)
        seen = data[0][:CALIBRATION]
        return convert_model(model, quantization, representative_data=seen).flatbuffer

    return method


def quantization_aware(scheme):
    def method(build, weights, data, batch, epochs):
        return trained_file(start(keras, build, weights), scheme, data, batch, epochs)

    return method


def trained_file(model, scheme, data, batch, epochs):
    quantized = tfc.quantize_aware(model, scheme)
    fit(keras, quantized, data, batch, epochs, FINE_RATE)
    return convert_model(quantized).flatbuffer


def two_precisions(build, weights, data, batch, epochs):
    seen = data[0][:CALIBRATION]
    model = start(keras, build, weights)
    table = tfc.sensitivity(model, seen, sparsities=(), bits=(8, 4), progress=False)
    choice = tfc.choose_precisions(table, WEIGHT_BUDGET)
    return trained_file(model, choice.scheme, data, batch, epochs)


def with_tfmot(build, weights, data, batch, epochs):
    import tensorflow_model_optimization as tfmot
    import tf_keras

    tf_keras.backend.clear_session()
    model = tfmot.quantization.keras.quantize_model(start(tf_keras, build, weights))
    fit(tf_keras, model, data, batch, epochs, FINE_RATE)
    return convert_quantized(model)


METHODS = {
    "float": post_training("float32"),
    "PTQ": post_training("int8"),
    "QAT": quantization_aware(tfc.Scheme.int8()),
    "TFMOT": with_tfmot,
    "PTQ 4-bit": post_training(tfc.Scheme.int4_weights()),
    "QAT 4-bit": quantization_aware(tfc.Scheme.int4_weights()),
    "QAT two precisions": two_precisions,
}
PEERS = {"TFMOT": "TFMOT"}


def accuracy(file, test):
    """Return the share of right answers of a file."""
    with load(file) as loaded:
        (scores,) = loaded.predict(test[0])
    return float(np.mean(scores.argmax(-1) == test[1]))


def run(name, build, load_data, settings, methods, seed, rows):
    """Add the rows of a data set and a seed that are not done yet."""
    missing = [
        method for method in methods if rows.find(data=name, seed=seed, method=method) is None
    ]
    if not missing:
        return
    data, test = load_data()
    keras.utils.set_random_seed(seed)
    model = build(keras)
    fit(keras, model, data, settings["batch"], settings["epochs"], RATE)
    weights = model.get_weights()
    for method in missing:
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)  # and TensorFlow's, for tf_keras
        begin = time.perf_counter()
        file = METHODS[method](build, weights, data, settings["batch"], settings["further_epochs"])
        row = rows.add(
            data=name,
            seed=seed,
            method=method,
            accuracy=accuracy(file, test),
            bytes=len(file),
            seconds=time.perf_counter() - begin,
            **settings,
        )
        print(f"{name:24}seed {seed}  {method:20}{row['accuracy']:8.2%}", flush=True)


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
                "runs": [{k: r[k] for k in ("seed", "accuracy", "bytes")} for r in runs],
            }
        )
        print(f"{data:24}{method:20}{statistics.mean(found):10.2%}{deviation:11.2%}{len(found):7}")
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, help="5 by default, 2 when fast")
    parser.add_argument("--fast", action="store_true", help="fewer seeds, shorter trainings")
    parser.add_argument("--only", choices=["signs", "mnist", "spoken"], help="one data set alone")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--rows", type=pathlib.Path, help="keeps finished work, to go on from")
    parser.add_argument("--json", help="where to write the summary")
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        parser.error("needs the data sets in shared/data beside the project")
    seeds = arguments.seeds or (2 if arguments.fast else 5)
    methods, left_out = those_present(arguments.methods, PEERS)
    rows = FinishedRows(arguments.rows, ("data", "seed", "method"))
    size = 5000 if arguments.fast else 10000
    short = {"batch": 64, "epochs": 3, "further_epochs": 2}
    tasks = {
        "signs": (
            "sign digits, sign net",
            sign_net,
            sign_digits,
            short if arguments.fast else {"batch": 32, "epochs": 20, "further_epochs": 6},
        ),
        "mnist": (
            "MNIST, LeNet",
            lenet,
            lambda: mnist(size),
            short if arguments.fast else {"batch": 64, "epochs": 4, "further_epochs": 2},
        ),
        "spoken": (
            "spoken digits, DS-CNN",
            keyword_net,
            spoken_digits,
            short if arguments.fast else {"batch": 32, "epochs": 40, "further_epochs": 6},
        ),
    }
    chosen = [task for name, task in tasks.items() if arguments.only in (None, name)]
    for seed in range(seeds):
        for task in chosen:
            run(*task, methods, seed, rows)
    table = summarize(rows.rows)
    table += [
        {"data": name, "method": method, "left_out": reason}
        for name, *_ in chosen
        for method, reason in left_out.items()
    ]
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(table, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
