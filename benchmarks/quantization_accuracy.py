"""What quantization costs in accuracy, run in the interpreter: sign digits and MNIST.

For each seed a float model is trained on Keras 3. Its weights are then the start of every method,
which all have the same data, optimizer, falling rate and number of epochs:

- float: trained on in float; not quantized;
- PTQ: that model, quantized after training by the TFLite converter;
- QAT: trained on with `quantize_aware`;
- TFMOT: trained on with TFMOT's `quantize_model`, on tf_keras, in the same architecture;
- PTQ 4-bit, QAT 4-bit: the same with weights of 4 bits; PTQ by this package's own ranges;
- QAT two precisions: 4-bit weights where a table of sensitivities says that they cost least, and
  60 % of the bytes of 8-bit ones for all weights;
- PTQ 4-bit, AEQ: by ai-edge-quantizer, where it is installed (the extra ptq): a scale for every
  output channel, and depthwise kernels keep 8 bits.

Reported is the accuracy of the .tflite files on held-out data: mean and standard deviation over the
seeds. With --rows, finished pieces of work are kept in a file, and an interrupted run goes on.

    python benchmarks/quantization_accuracy.py --rows rows.jsonl --json quantization_accuracy.json
    python benchmarks/quantization_accuracy.py --fast
"""

import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from finished_rows import FinishedRows
from quiet_converter import convert
from small_nets import lenet, sign_net
from training_data import SHARED, mnist, sign_digits

import tfcompress as tfc
from exporters import AfterTraining
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


def float_model(build, weights, data, batch, epochs):
    model = start(keras, build, weights)
    fit(keras, model, data, batch, epochs, FINE_RATE)
    return model


def post_training(quantization):
    def method(build, weights, data, batch, epochs):
        model = float_model(build, weights, data, batch, epochs)
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
    model = tfmot.quantization.keras.quantize_model(start(tf_keras, build, weights))
    fit(tf_keras, model, data, batch, epochs, FINE_RATE)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return convert(converter)


METHODS = {
    "float": float_model,
    "PTQ": post_training("int8"),
    "QAT": quantization_aware(tfc.Scheme.int8()),
    "TFMOT": with_tfmot,
    "PTQ 4-bit": post_training(tfc.Scheme.int4_weights()),
    "QAT 4-bit": quantization_aware(tfc.Scheme.int4_weights()),
    "QAT two precisions": two_precisions,
}


if importlib.util.find_spec("ai_edge_quantizer"):
    METHODS["PTQ 4-bit, AEQ"] = post_training(AfterTraining(weight_bits=4))


def accuracy(result, test):
    """Return the share of right answers of a file, or of the float model."""
    if isinstance(result, bytes):
        with load(result) as loaded:
            (scores,) = loaded.predict(test[0])
    else:
        scores = result.predict(test[0], verbose=0)
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
        tf_keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        tf_keras.utils.set_random_seed(seed)
        begin = time.perf_counter()
        result = METHODS[method](
            build, weights, data, settings["batch"], settings["further_epochs"]
        )
        row = rows.add(
            data=name,
            seed=seed,
            method=method,
            accuracy=accuracy(result, test),
            bytes=len(result) if isinstance(result, bytes) else None,
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
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--rows", type=pathlib.Path, help="keeps finished work, to go on from")
    parser.add_argument("--json", help="where to write the summary")
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        parser.error("needs the data sets in shared/data beside the project")
    seeds = arguments.seeds or (2 if arguments.fast else 5)
    rows = FinishedRows(arguments.rows, ("data", "seed", "method"))
    size = 5000 if arguments.fast else 10000
    short = {"batch": 64, "epochs": 3, "further_epochs": 2}
    tasks = (
        (
            "sign digits, sign net",
            sign_net,
            sign_digits,
            short if arguments.fast else {"batch": 32, "epochs": 20, "further_epochs": 6},
        ),
        (
            "MNIST, LeNet",
            lenet,
            lambda: mnist(size),
            short if arguments.fast else {"batch": 64, "epochs": 4, "further_epochs": 2},
        ),
    )
    for seed in range(seeds):
        for task in tasks:
            run(*task, arguments.methods, seed, rows)
    table = summarize(rows.rows)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(table, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
