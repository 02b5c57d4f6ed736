"""How exactly a quantization-aware model computes what its file computes.

Seven small networks are trained in float on real data and then on with `quantize_aware`, with
TFMOT's `quantize_model` on tf_keras, or quantized after training by the TFLite converter (PTQ) or
by ai-edge-quantizer (PTQ, AEQ). Each file runs in the interpreter under three kernel sets, and its
int8 outputs are compared with those of the Keras model, rounded to the same steps (for
post-training quantization that is the float model). Of the first seed, every operation of the
quantization-aware model's file is compared alone as well.

With --rows, finished pieces of work are kept in a file, and an interrupted run goes on. A peer that
is not installed is left out, and said to be.

    python benchmarks/quantization_fidelity.py --rows rows.jsonl --json fidelity.json
    python benchmarks/quantization_fidelity.py --fast --models "sign net"
"""

import argparse
import dataclasses
import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import small_nets
from fidelity_page import KERNEL_SETS, fidelity_tables
from finished_rows import FinishedRows
from limited_work import described
from peers import those_present
from quiet_converter import convert_quantized
from training_data import SHARED, mnist, sign_digits, spoken_digits

import tfcompress as tfc
from exporters import AfterTraining, validate
from exporters.comparing.operation_agreement import compare_operations
from exporters.converting import convert_model
from tfcompress.datasets import sign_digits as shipped_sign_digits

BATCH, RATE, FINE_RATE = 32, 2e-3, 2e-4
CALIBRATION, ACCOUNTED = 200, 412
PEERS = {"TFMOT": "TFMOT", "PTQ, AEQ": "AEQ"}


def photos():
    """Return the photos that the package ships, at 64x64; 412 are held out."""
    return tuple((x.astype("float32") / 255, y) for x, y in shipped_sign_digits.load_data())


def dark_pixels():
    """Return photos at 32x32, and which of their pixels are darker than the photo's mean."""

    def target(x):
        grey = x.mean(-1)
        return (grey < grey.mean((1, 2), keepdims=True)).astype("int64")

    return tuple((x, target(x)) for x, _ in sign_digits())


@dataclasses.dataclass(frozen=True)
class Task:
    build: object
    data: object
    epochs: int
    further_epochs: int
    seeds: int = 1


TASKS = {
    "sign net": Task(small_nets.larger_sign_net, photos, 20, 5, seeds=3),
    "residual net": Task(small_nets.residual_net, sign_digits, 8, 2),
    "perceptron": Task(small_nets.perceptron, lambda: mnist(10000), 4, 1),
    "LeNet": Task(small_nets.lenet, lambda: mnist(10000), 4, 1),
    "U-Net": Task(small_nets.u_net, dark_pixels, 4, 1),
    "transformer": Task(small_nets.transformer, spoken_digits, 8, 2),
    "keyword net": Task(small_nets.keyword_net, spoken_digits, 15, 3),
}


def fit(library, model, data, epochs, rate):
    """Train with a rate that falls along a cosine."""
    steps = epochs * -(-len(data[0]) // BATCH)
    model.compile(
        library.optimizers.Adam(library.optimizers.schedules.CosineDecay(rate, steps)),
        library.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(*data, BATCH, epochs, verbose=0)
    return model


def start(library, task, weights):
    model = task.build(library)
    model.set_weights(weights)
    return model


def quantization_aware(task, weights, data):
    model = tfc.quantize_aware(start(keras, task, weights))
    fit(keras, model, data, task.further_epochs, FINE_RATE)
    return model, convert_model(model).flatbuffer


def with_tfmot(task, weights, data):
    import tensorflow_model_optimization as tfmot
    import tf_keras

    tf_keras.backend.clear_session()
    model = tfmot.quantization.keras.quantize_model(start(tf_keras, task, weights))
    fit(tf_keras, model, data, task.further_epochs, FINE_RATE)
    return model, convert_quantized(model)


def post_training(quantization):
    def method(task, weights, data):
        model = fit(keras, start(keras, task, weights), data, task.further_epochs, FINE_RATE)
        seen = data[0][:CALIBRATION]
        return model, convert_model(model, quantization, representative_data=seen).flatbuffer

    return method


METHODS = {
    "QAT": quantization_aware,
    "TFMOT": with_tfmot,
    "PTQ": post_training("int8"),
    "PTQ, AEQ": post_training(AfterTraining()),
}


def run(name, task, methods, rows):
    """Add the rows of a network that are not done yet."""
    missing = [
        (seed, method)
        for seed in range(task.seeds)
        for method in methods
        if rows.find(model=name, seed=seed, method=method) is None
    ]
    weights = {}
    data, test = task.data() if missing else (None, None)
    for seed, method in missing:
        keras.backend.clear_session()
        if seed not in weights:
            keras.utils.set_random_seed(seed)
            model = fit(keras, task.build(keras), data, task.epochs, RATE)
            weights = {seed: model.get_weights()}
        keras.utils.set_random_seed(seed)  # and TensorFlow's, for tf_keras
        row = {"model": name, "seed": seed, "method": method}
        try:
            model, flatbuffer = METHODS[method](task, weights[seed], data)
        except Exception as error:  # a peer may refuse a model with any
            rows.add(**row, error=described(error))
            print(f"{name:14}seed {seed}  {method:10} fails: {error}", flush=True)
            continue
        agreement = validate(flatbuffer, model, test[0], kernels=KERNEL_SETS)
        row["kernels"] = {
            entry.kernels: dataclasses.asdict(entry.outputs[0])
            for entry in agreement.runs
            if entry.error is None
        }
        if method == "QAT" and seed == 0:
            account = compare_operations(model, flatbuffer, test[0][:ACCOUNTED], KERNEL_SETS)
            row["operations"] = [dataclasses.asdict(entry) for entry in account]
        rows.add(**row)
        found = row["kernels"]["xnnpack"]
        print(
            f"{name:14}seed {seed}  {method:10}{found['equal']:8.2%} equal"
            f"{found['within_one']:9.2%} within 1 LSB{found['largest']:4.0f} LSB at most"
            f"{found['same_class']:9.2%} same class",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, help="3 for the sign net, 1 for the others")
    parser.add_argument("--fast", action="store_true", help="one seed, short trainings")
    parser.add_argument("--models", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--rows", type=pathlib.Path, help="keeps finished work, to go on from")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        parser.error("needs the data sets in shared/data beside the project")
    methods, left_out = those_present(arguments.methods, PEERS)
    rows = FinishedRows(arguments.rows, ("model", "seed", "method"))
    unmeasured = []
    for name in arguments.models:
        task = TASKS[name]
        if arguments.seeds:
            task = dataclasses.replace(task, seeds=arguments.seeds)
        if arguments.fast:
            task = dataclasses.replace(task, epochs=3, further_epochs=1, seeds=1)
        run(name, task, methods, rows)
        unmeasured += [
            {"model": name, "seed": seed, "method": method, "left_out": reason}
            for method, reason in left_out.items()
            for seed in range(task.seeds)
            if rows.find(model=name, seed=seed, method=method) is None
        ]
    found = rows.rows + unmeasured
    for name, lines in fidelity_tables(found).items():
        print("\n".join(["", name, *lines]))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
