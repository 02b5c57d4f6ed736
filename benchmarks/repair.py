"""The four MLPerf Tiny models, repaired before they are quantized after training.

    python benchmarks/repair.py ../shared --out table.md \\
        --json repair.json

How near each int8 file comes to the float model: the signal-to-noise ratio of its outputs in the
interpreter, on other samples than those that calibrate and repair it. Every row of a model uses the
same calibration samples. The data are those of benchmarks/mlperf_tiny.py: the benchmark's own for
keyword spotting, stand-ins for the others.
"""

import argparse
import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from mlperf_tiny import CALIBRATION, TASKS

import tfcompress as tfc
from exporters.converting import convert_model
from exporters.running.runtime import load
from tfcompress.tflite.numerics import sqnr

# What is done before the plain converter is asked for int8.
WAYS = {
    "plain": (),
    "equalize": ("equalize",),
    "round": ("round",),
    "correct_biases": ("correct_biases",),
    "all three": ("equalize", "round", "correct_biases"),
}
OBSERVERS = ("percentile", "mse", "kl")


def outputs(flatbuffer, inputs):
    with load(flatbuffer) as loaded:
        return loaded.predict(inputs)[0]


def with_observer(model, calibration, observer):
    quantized = tfc.quantize_aware(model, observer=observer).calibrate(calibration)
    return convert_model(quantized).flatbuffer


def measure(name, shared):
    """Return the rows of one model: {"way", "decibels", "seconds"}, seconds of processor time."""
    task = TASKS[name]
    model = keras.models.load_model(shared / "models" / "mlperf_tiny" / task.model)
    inputs = task.inputs(shared / "data")
    calibration, others = inputs[::2][:CALIBRATION], inputs[1::2]
    wanted = model.predict(others, verbose=0)
    rows = []
    for way, steps in WAYS.items():
        start = time.process_time()
        repaired = tfc.repair(model, calibration, steps) if steps else model
        seconds = time.process_time() - start
        file = convert_model(repaired, "int8", representative_data=calibration).flatbuffer
        ratio = sqnr(wanted, outputs(file, others))
        rows.append({"model": name, "way": way, "decibels": ratio, "seconds": seconds})
        print(rows[-1], flush=True)
    for observer in OBSERVERS:
        file = with_observer(repaired, calibration, observer)
        ratio = sqnr(wanted, outputs(file, others))
        rows.append({"model": name, "way": f"all three, {observer} ranges", "decibels": ratio})
        print(rows[-1], flush=True)
    return rows


def table(rows):
    """Return the rows as a table in Markdown, a column for each model."""
    names = list(dict.fromkeys(row["model"] for row in rows))
    ways = list(dict.fromkeys(row["way"] for row in rows))
    found = {(row["way"], row["model"]): row for row in rows}
    heads = [f"{TASKS[name].title}, dB" for name in names]
    lines = ["| before the export | " + " | ".join(heads) + " |", "|---" * (len(names) + 1) + "|"]
    for way in ways:
        cells = [f"{found[way, name]['decibels']:.1f}" for name in names]
        lines.append("| " + " | ".join([way, *cells]) + " |")
    seconds = [f"{found['all three', name]['seconds']:.0f} s" for name in names]
    lines.append("| processor time of all three | " + " | ".join(seconds) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=pathlib.Path, help="the folder with models/ and data/")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--out", type=pathlib.Path, help="write the table there")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures there")
    arguments = parser.parse_args()
    rows = [row for name in arguments.only for row in measure(name, arguments.shared)]
    print(table(rows))
    if arguments.out:
        arguments.out.write_text(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
