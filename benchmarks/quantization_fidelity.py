"""How exactly a quantization-aware model computes what its file computes.

Six small networks are trained in float on real data and then on with `quantize_aware`, with TFMOT's
`quantize_model` on tf_keras, or quantized after training by the TFLite converter. Each file runs in
the interpreter under three kernel sets, and its int8 outputs are compared with those of the Keras
model, rounded to the same steps (for post-training quantization that is the float model). Of the
first seed, every operation of the quantization-aware model's file is compared alone as well.

With --rows, finished pieces of work are kept in a file, and an interrupted run goes on. With --docs
the tables of that page are written anew.

    python benchmarks/quantization_fidelity.py --rows rows.jsonl --json fidelity.json
    python benchmarks/quantization_fidelity.py --fast --models "sign net"
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import small_nets
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from finished_rows import FinishedRows
from quiet_converter import convert
from training_data import SHARED, mnist, sign_digits, spoken_digits

import tfcompress as tfc
from exporters import validate
from exporters.comparing.operation_agreement import compare_operations
from exporters.converting import convert_model
from tfcompress.datasets import sign_digits as shipped_sign_digits

BATCH, RATE, FINE_RATE = 32, 2e-3, 2e-4
CALIBRATION, ACCOUNTED = 200, 412
KERNEL_SETS = ("xnnpack", "builtin", "reference")


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


TASKS = {
    "sign net": Task(small_nets.larger_sign_net, photos, 20, 5),
    "residual net": Task(small_nets.residual_net, sign_digits, 8, 2),
    "perceptron": Task(small_nets.perceptron, lambda: mnist(10000), 4, 1),
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
    model = tfmot.quantization.keras.quantize_model(start(tf_keras, task, weights))
    fit(tf_keras, model, data, task.further_epochs, FINE_RATE)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return model, convert(converter)


def post_training(task, weights, data):
    model = fit(keras, start(keras, task, weights), data, task.further_epochs, FINE_RATE)
    seen = data[0][:CALIBRATION]
    return model, convert_model(model, "int8", representative_data=seen).flatbuffer


METHODS = {"QAT": quantization_aware, "TFMOT": with_tfmot, "PTQ": post_training}


def run(name, task, methods, seeds, rows):
    """Add the rows of a network that are not done yet."""
    missing = [
        (seed, method)
        for seed in range(seeds)
        for method in methods
        if rows.find(model=name, seed=seed, method=method) is None
    ]
    weights = {}
    data, test = task.data() if missing else (None, None)
    for seed, method in missing:
        keras.backend.clear_session()
        tf_keras.backend.clear_session()
        if seed not in weights:
            keras.utils.set_random_seed(seed)
            model = fit(keras, task.build(keras), data, task.epochs, RATE)
            weights = {seed: model.get_weights()}
        keras.utils.set_random_seed(seed)
        tf_keras.utils.set_random_seed(seed)
        row = {"model": name, "seed": seed, "method": method}
        try:
            model, flatbuffer = METHODS[method](task, weights[seed], data)
        except (ValueError, RuntimeError, TypeError) as error:
            rows.add(**row, error=str(error).splitlines()[0][:120])
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
            f"{name:14}seed {seed}  {method:6}{found['equal']:8.2%} equal"
            f"{found['within_one']:9.2%} within 1 LSB{found['largest']:4.0f} LSB at most"
            f"{found['same_class']:9.2%} same class",
            flush=True,
        )


def outputs_table(rows, models, kernel_sets):
    """Return the lines of a table of outputs: mean over the seeds, and the largest difference."""
    lines = [
        "| model | method | kernels | equal | within 1 LSB | largest | same class |",
        "|---|---|---|---|---|---|---|",
    ]
    for model in models:
        for method in METHODS:
            done = [row for row in rows if (row["model"], row["method"]) == (model, method)]
            failed = next((row["error"] for row in done if "error" in row), None)
            if failed:
                lines.append(f"| {model} | {method} | fails: {failed} | | | | |")
            for kernels in kernel_sets if done and not failed else ():
                found = [row["kernels"][kernels] for row in done if kernels in row["kernels"]]
                if found:
                    equal, near, same = (
                        np.mean([entry[key] for entry in found])
                        for key in ("equal", "within_one", "same_class")
                    )
                    largest = max(entry["largest"] for entry in found)
                    lines.append(
                        f"| {model} | {method} | {kernels} | {equal:.2%} | {near:.2%} "
                        f"| {largest:.0f} LSB | {same:.2%} |"
                    )
    return lines


def operations_table(rows, model):
    """Return the lines of a table with every operation of a model's first seed."""
    lines = [
        "| operation | handed out by | with all before | "
        + " | ".join(f"alone, {kernels}" for kernels in KERNEL_SETS)
        + " |",
        "|---|---|---|" + "---|" * len(KERNEL_SETS),
    ]
    for entry in _account(rows, model):
        alone = [entry["alone"].get(kernels) for kernels in KERNEL_SETS]
        lines.append(
            f"| {entry['operation']} | `{entry['point']}` | {_share(entry['together'])} | "
            + " | ".join(_share(found) for found in alone)
            + " |"
        )
    return lines


def kinds_table(rows, models):
    """Return the lines of a table with the worst operation of each kind, over models."""
    worst = {}
    for model in models:
        for entry in _account(rows, model):
            for kernels, found in entry["alone"].items():
                kept = worst.setdefault((entry["operation"], kernels), dict(found))
                for key in ("share", "largest"):
                    kept[key] = max(kept[key], found[key])
    lines = [
        "| operation | " + " | ".join(KERNEL_SETS) + " |",
        "|---|" + "---|" * len(KERNEL_SETS),
    ]
    for operation in sorted({operation for operation, _ in worst}):
        found = [worst.get((operation, kernels)) for kernels in KERNEL_SETS]
        lines.append(f"| {operation} | " + " | ".join(map(_share, found)) + " |")
    return lines


def _account(rows, model):
    return next(
        (row["operations"] for row in rows if row["model"] == model and "operations" in row), []
    )


def _share(found):
    if found is None:
        return ""
    if not found["largest"]:
        return "equal"
    return f"{found['share'] * 1e6:,.0f} ppm, {found['largest']} LSB"


def write_tables(path, tables):
    """Replace what stands between "<!-- table NAME -->" and "<!-- end -->" on a page."""
    text = path.read_text(encoding="utf-8")
    for name, lines in tables.items():
        pattern = rf"(<!-- table {re.escape(name)} -->\n).*?(<!-- end -->)"
        table = "\n".join(["", *lines, "", ""])
        text, count = re.subn(
            pattern, lambda m, table=table: m[1] + table + m[2], text, flags=re.DOTALL
        )
        if not count:
            raise ValueError(f"{path} has no place for the table {name!r}")
    path.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, help="3 by default, 1 when fast")
    parser.add_argument("--fast", action="store_true", help="one seed, short trainings")
    parser.add_argument("--models", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--rows", type=pathlib.Path, help="keeps finished work, to go on from")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    parser.add_argument("--docs", type=pathlib.Path, help="the page whose tables to write anew")
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        parser.error("needs the data sets in shared/data beside the project")
    seeds = arguments.seeds or (1 if arguments.fast else 3)
    rows = FinishedRows(arguments.rows, ("model", "seed", "method"))
    for name in arguments.models:
        task = TASKS[name]
        if arguments.fast:
            task = dataclasses.replace(task, epochs=3, further_epochs=1)
        run(name, task, arguments.methods, seeds, rows)
    others = [name for name in TASKS if name != "sign net"]
    tables = {
        "sign net": outputs_table(rows.rows, ["sign net"], KERNEL_SETS),
        "others": outputs_table(rows.rows, others, ["xnnpack"]),
        "operations of the sign net": operations_table(rows.rows, "sign net"),
        "kinds": kinds_table(rows.rows, list(TASKS)),
    }
    for name, lines in tables.items():
        print("\n".join(["", name, *lines]))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows.rows, indent=1), encoding="utf-8")
    if arguments.docs:
        write_tables(arguments.docs, tables)


if __name__ == "__main__":
    main()
