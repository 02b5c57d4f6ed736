"""What an export costs, how it grows with the age of a process, and whether its bytes are the same.

MobileNetV2-0.35 for photos at 96x96 is trained quantization-aware for some steps. Its exports,
without validation data, take turns with the plain float32 conversion of the same model by
`tf.lite.TFLiteConverter`; so does `quantize_aware`. Then one process exports fifty times, and
twenty fresh ones export the same saved model once each.

Each of these pieces has a process of its own. With --rows, finished ones are kept in a file, and an
interrupted run goes on.

    python benchmarks/export_time.py --rows rows.jsonl --json export_time.json
    python benchmarks/export_time.py --fast
"""

import argparse
import gc
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from limited_work import do_pieces, finish
from sections.export_time import (
    AFTER_TRAINING,
    AGAIN,
    FIRST,
    FLOAT,
    LOADED,
    PLAIN,
    WRAPPING,
    bytes_table,
    repeated_table,
    turns_table,
)

SIZES = {"turns": 12, "exports": 50, "processes": 20}
FAST_SIZES = {"turns": 3, "exports": 5, "processes": 2}
STEPS, BATCH, REPRESENTATIVE = 20, 32, 64
SECONDS, GIBIBYTES = 900, 8


def images(count):
    """Return random photos and labels."""
    import numpy as np

    random = np.random.default_rng(0)
    return random.random((count, 96, 96, 3), dtype="float32"), random.integers(0, 10, count)


def trained():
    """Return the quantization-aware model after its training."""
    import keras
    from timed_models import mobilenet_v2

    import tfcompress as tfc

    keras.utils.set_random_seed(0)
    model = tfc.quantize_aware(mobilenet_v2(keras))
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(*images(STEPS * BATCH), batch_size=BATCH, verbose=0)
    return model


def exports(model, path):
    """Return {name: function} of the exports of a quantization-aware model and what it wraps."""
    from exporters import export_tflite

    seen, _ = images(REPRESENTATIVE)
    return {
        AGAIN: lambda: export_tflite(model, path),
        AFTER_TRAINING: lambda: export_tflite(model.model, path, "int8", representative_data=seen),
    }


def turns(rounds, folder):
    """Return the seconds of each kind of work in each round, those of the first round apart."""
    import keras
    import tensorflow as tf
    from quiet_converter import convert

    import tfcompress as tfc
    from exporters import export_tflite

    model, path, saved = trained(), folder / "model.tflite", folder / "trained.keras"
    model.save(saved)
    works = exports(model, path) | {
        PLAIN: lambda: convert(tf.lite.TFLiteConverter.from_keras_model(model.model)),
        FLOAT: lambda: export_tflite(model.model, path, "float32"),
    }
    times = {name: [] for name in (PLAIN, WRAPPING, FIRST, AGAIN, LOADED, AFTER_TRAINING, FLOAT)}

    def timed(name, work):
        seconds, value = seconds_of(work)
        times[name].append(seconds)
        return value

    for _ in range(rounds + 1):
        timed(PLAIN, works[PLAIN])
        fresh = timed(WRAPPING, lambda: tfc.quantize_aware(model.model))
        fresh.ranges.assign(model.ranges)
        timed(FIRST, lambda: export_tflite(fresh, path))  # noqa: B023
        loaded = keras.models.load_model(saved)
        timed(LOADED, lambda: export_tflite(loaded, path))  # noqa: B023
        for name in (AGAIN, AFTER_TRAINING, FLOAT):
            timed(name, works[name])
    return {name: {"first": found[0], "seconds": found[1:]} for name, found in times.items()}


def seconds_of(work):
    """Return the seconds that a function takes, and what it returns."""
    start = time.perf_counter()
    value = work()
    return time.perf_counter() - start, value


def repeated(name, count, folder):
    """Return the seconds of each export of one process, and its memory after each, in bytes."""
    work = exports(trained(), folder / "model.tflite")[name]
    seconds, memory = [], []
    for _ in range(count):
        seconds.append(seconds_of(work)[0])
        gc.collect()
        memory.append(resident_memory())
    return {"seconds": seconds, "memory": memory}


def resident_memory():
    """Return the bytes of this process that are in memory."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def bytes_of_processes(count, folder):
    """Return the hashes of the files that fresh processes make of one saved model."""
    saved = folder / "trained.keras"
    trained().save(saved)
    hashes = {}
    for _ in range(count):
        run = subprocess.run(
            [sys.executable, __file__, "--export", saved], capture_output=True, check=True
        )
        for name, found in json.loads(run.stdout.splitlines()[-1]).items():
            hashes.setdefault(name, []).append(found)
    return hashes


def export_once(saved):
    """Return {kind of export: hash of the file} of a saved model."""
    import keras

    import tfcompress  # noqa: F401  its models can be loaded

    path = saved.with_name("model.tflite")
    hashes = {}
    for name, work in exports(keras.models.load_model(saved), path).items():
        work()
        hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


PIECES = {
    "turns": lambda sizes, folder: turns(sizes["turns"], folder),
    AGAIN: lambda sizes, folder: repeated(AGAIN, sizes["exports"], folder),
    AFTER_TRAINING: lambda sizes, folder: repeated(AFTER_TRAINING, sizes["exports"], folder),
    "bytes": lambda sizes, folder: bytes_of_processes(sizes["processes"], folder),
}


def show(figures):
    for lines in (turns_table(figures), repeated_table(figures), bytes_table(figures)):
        print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="few turns, exports and processes")
    parser.add_argument("--rows", type=pathlib.Path, help="keeps finished work, to go on from")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    parser.add_argument("--pieces", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--export", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.export:
        print(json.dumps(export_once(options.export)))
        return
    sizes = FAST_SIZES if options.fast else SIZES
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if options.pieces:
            work = lambda piece: PIECES[piece](sizes, folder)  # noqa: E731
            do_pieces(options.pieces, work, options.rows, SECONDS, GIBIBYTES)
            return
        path = options.rows or folder / "rows.jsonl"
        command = [__file__, *(["--fast"] if options.fast else []), "--rows", os.fspath(path)]
        found = {}
        for piece in PIECES:
            (row,) = finish([{"piece": piece}], [*command, "--pieces"], path, SECONDS)
            if "error" in row:
                sys.exit(f"{piece}: {row['error']}")
            found[piece] = row["figures"]
    figures = {
        "turns": found["turns"],
        "repeated": {name: found[name] for name in (AGAIN, AFTER_TRAINING)},
        "bytes": found["bytes"],
    }
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
