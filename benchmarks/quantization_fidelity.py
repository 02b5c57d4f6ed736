"""How exactly a quantization-aware model computes what its file computes.

Eight small networks are trained in float on real data and then on with `quantize_aware`, once for
XNNPACK and once for the reference kernels (`Scheme(kernels=...)`), and with TFMOT's
`quantize_model` on tf_keras. Networks of keras.applications and a small ViT stay as they were
initialised, but for the statistics of BatchNormalization, and `calibrate` sets their ranges. Each
file runs in the interpreter on all held-out examples, and its int8 outputs are compared with those
of the Keras model, rounded to the same steps. Of the first seed, every operation of the file is
compared alone as well.

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
import numpy as np
import small_nets
from fidelity_page import KERNEL_SETS, fidelity_tables
from finished_rows import FinishedRows
from limited_work import described
from operation_parity import compare_operations
from peers import those_present
from quiet_converter import convert_quantized
from sections.fidelity import OWN_KERNELS
from training_data import SHARED, mnist, sign_digits, spoken_digits

import tfcompress as tfc
from exporters import validate
from exporters.converting import convert_model
from tfcompress.datasets import sign_digits as shipped_sign_digits

BATCH, RATE, FINE_RATE = 32, 2e-3, 2e-4
CALIBRATED, ACCOUNTED = 200, 412
FRESH_HELD_OUT = 100  # the reference kernels need a second and more for an image in VGG19
ACCOUNTING_KERNELS = "reference"  # those that show `compare_operations` the inner values
PEERS = {"TFMOT": "TFMOT"}


def photos():
    """Return the photos that the package ships, at 64x64; 412 are held out."""
    return tuple((x.astype("float32") / 255, y) for x, y in shipped_sign_digits.load_data())


def dark_pixels():
    """Return photos at 32x32, and which of their pixels are darker than the photo's mean."""

    def target(x):
        grey = x.mean(-1)
        return (grey < grey.mean((1, 2), keepdims=True)).astype("int64")

    return tuple((x, target(x)) for x, _ in sign_digits())


def few(data, scale=1.0):
    """Return a function that loads data of which fewer examples are held out."""

    def load():
        (x, y), (held_out, labels) = data()
        return (x * scale, y), (held_out[:FRESH_HELD_OUT] * scale, labels[:FRESH_HELD_OUT])

    return load


def application(name, size):
    """Return a function that builds a network of keras.applications that gives logits."""

    def build(library):
        make = getattr(library.applications, name)
        shape = (size, size, 3)
        return make(input_shape=shape, weights=None, classes=10, classifier_activation=None)

    return build


@dataclasses.dataclass(frozen=True)
class Task:
    """A network and its data; without epochs it stays as it was initialised."""

    build: object
    data: object
    epochs: int = 0
    further_epochs: int = 0
    seeds: int = 1


TASKS = {
    "sign net": Task(small_nets.larger_sign_net, photos, 6, 2, seeds=3),
    "residual net": Task(small_nets.residual_net, sign_digits, 4, 1),
    "perceptron": Task(small_nets.perceptron, lambda: mnist(10000), 2, 1),
    "LeNet": Task(small_nets.lenet, lambda: mnist(10000), 2, 1),
    "U-Net": Task(small_nets.u_net, dark_pixels, 2, 1),
    "U-Net, transposed": Task(small_nets.transposed_u_net, dark_pixels, 2, 1),
    "transformer": Task(small_nets.transformer, spoken_digits, 4, 1),
    "keyword net": Task(small_nets.keyword_net, spoken_digits, 6, 2),
    "VGG19": Task(application("VGG19", 32), few(sign_digits)),
    "EfficientNetV2B0": Task(application("EfficientNetV2B0", 64), few(photos, 255.0)),
    "MobileNetV3Small": Task(application("MobileNetV3Small", 64), few(photos, 255.0)),
    "ViT": Task(small_nets.vision_transformer, few(sign_digits)),
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


def settle(model, images):
    """Give each BatchNormalization the statistics of images: else all outputs are alike."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)


def start(library, task, weights):
    model = task.build(library)
    model.set_weights(weights)
    return model


def quantization_aware(kernels):
    def method(task, weights, data):
        model = tfc.quantize_aware(start(keras, task, weights), tfc.Scheme(kernels=kernels))
        if task.epochs:
            fit(keras, model, data, task.further_epochs, FINE_RATE)
        else:
            model.calibrate(data[0][:CALIBRATED])
        return model, convert_model(model).flatbuffer

    return method


def with_tfmot(task, weights, data):
    import tensorflow_model_optimization as tfmot
    import tf_keras

    tf_keras.backend.clear_session()
    model = tfmot.quantization.keras.quantize_model(start(tf_keras, task, weights))
    fit(tf_keras, model, data, task.further_epochs, FINE_RATE)
    return model, convert_quantized(model)


# Those of ours are named after the kernels that they are exact for.
METHODS = {kernels: quantization_aware(kernels) for kernels in OWN_KERNELS} | {"TFMOT": with_tfmot}


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
            model = task.build(keras)
            if task.epochs:
                fit(keras, model, data, task.epochs, RATE)
            else:
                settle(model, data[0][:CALIBRATED])
            weights = {seed: model.get_weights()}
        keras.utils.set_random_seed(seed)  # and TensorFlow's, for tf_keras
        row = {"model": name, "seed": seed, "method": method, "trained": bool(task.epochs)}
        try:
            model, flatbuffer = METHODS[method](task, weights[seed], data)
        except Exception as error:  # a peer may refuse a model with any
            rows.add(**row, error=described(error))
            print(f"{name:18}seed {seed}  {method:10} fails: {error}", flush=True)
            continue
        compared = KERNEL_SETS if task.epochs else (method,)
        agreement = validate(flatbuffer, model, test[0], kernels=compared)
        row["examples"] = len(test[0])
        row["values"] = len(test[0]) * np.size(model(test[0][:1], training=False))
        if not task.epochs:  # nothing has made it tell images apart
            row["distinct"] = len(np.unique(model.predict(test[0], verbose=0), axis=0))
        row["kernels"] = {
            entry.kernels: dataclasses.asdict(entry.outputs[0])
            for entry in agreement.runs
            if entry.error is None
        }
        row["refused"] = {run.kernels: run.error for run in agreement.runs if run.error}
        own = method == OWN_KERNELS[0] and task.epochs and seed == 0
        if own and ACCOUNTING_KERNELS not in row["refused"]:
            account = compare_operations(model, flatbuffer, test[0][:ACCOUNTED], KERNEL_SETS)
            row["operations"] = [dataclasses.asdict(entry) for entry in account]
        rows.add(**row)
        for kernels, found in row["kernels"].items():
            print(
                f"{name:18}seed {seed}  {method:10}in {kernels:10}{found['equal']:9.3%} equal of "
                f"{row['values']:,}, {found['largest']:.0f} LSB at most",
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
    ours = [method for method in methods if method in OWN_KERNELS]
    rows = FinishedRows(arguments.rows, ("model", "seed", "method"))
    unmeasured = []
    for name in arguments.models:
        task = TASKS[name]
        if arguments.seeds:
            task = dataclasses.replace(task, seeds=arguments.seeds)
        if arguments.fast:
            task = dataclasses.replace(task, epochs=min(task.epochs, 3), further_epochs=1, seeds=1)
        run(name, task, methods if task.epochs else ours, rows)
        unmeasured += [
            {"model": name, "seed": seed, "method": method, "left_out": reason}
            for method, reason in (left_out.items() if task.epochs else ())
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
