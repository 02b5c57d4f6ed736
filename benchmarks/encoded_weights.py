"""What zeros and shared weights are worth on a microcontroller: encoded kernels in TFLite Micro.

    python benchmarks/encoded_weights.py --json encoded_weights.json

The networks of ethos_u.py, MobileNetV1-0.25 for 96x96 images with its initial weights: as it is,
with 75 % of zeros, with 16 values in each kernel, and both. Each is exported as int8, its kernels
are encoded, and both files are run on 16 inputs by the interpreter of the package tflite-micro on
this computer, in turns.
"""

import argparse
import json
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from ethos_u import MODELS, SHAPE, export
from tflite_micro.python.tflite_micro import runtime

import tfcompress as tfc
from exporters import encode_weights

ARENA, RUNS = 1 << 20, 16


def outputs_and_times(files):
    """Return the outputs of each file on the same inputs, and its seconds for each."""
    interpreters = [runtime.Interpreter.from_bytes(file, arena_size=ARENA) for file in files]
    outputs, times = [[] for _ in files], [[] for _ in files]
    for image in np.random.default_rng(0).integers(-128, 128, (RUNS, 1, *SHAPE), np.int8):
        for place, interpreter in enumerate(interpreters):
            interpreter.set_input(image, 0)
            begin = time.perf_counter()
            interpreter.invoke()
            times[place].append(time.perf_counter() - begin)
            outputs[place].append(np.array(interpreter.get_output(0)))
    return np.array(outputs), np.array(times)


def measure(name, model, folder):
    """Return the row of a model."""
    dense, encoded = (pathlib.Path(folder, f"{kind}.tflite") for kind in ("dense", "encoded"))
    export(model, dense, tfc.Scheme(kernels="micro"))
    report = encode_weights(dense, encoded)
    outputs, times = outputs_and_times([dense.read_bytes(), encoded.read_bytes()])
    return {
        "model": name,
        "dense_size": report.dense_size,
        "size": report.size,
        "dense_arena": report.dense_arena,
        "arena": report.arena,
        "encodings": sorted({kernel.encoding for kernel in report.kernels}),
        "differing": int(np.count_nonzero(outputs[0] != outputs[1])),
        "values": int(outputs[0].size),
        "time": float(np.median(times[1] / times[0])),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", required=True, help="where the figures go")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, make in MODELS.items():
            rows.append(measure(name, make(), folder))
            print(rows[-1], flush=True)
    pathlib.Path(arguments.json).write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
