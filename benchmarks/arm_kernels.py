"""Do LiteRT's kernels on ARM give what they give on x86? Random files of every operation.

    python benchmarks/arm_kernels.py --json arm_kernels.json

The files are run by ai-edge-litert for 64-bit ARM on an emulated Cortex-A72, the processor of a
Raspberry Pi 4, which `make emulate` makes: on x86-64 Linux, as root the first time. Counted are the
values that differ from our arithmetic, which on x86 equals XNNPACK and the reference kernels.
"""

import argparse
import importlib
import json
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import random_operations
from random_operations.files import fed_values, in_python, written

BENCHMARKS = pathlib.Path(__file__).resolve().parent
SETS = ("xnnpack", "reference")
SEED = 3


def write_files(folder, names, files):
    """Write random files and their inputs; return {number: (name, sample, content)}."""
    written_files = {}
    for name in names:
        for case in range(files):
            sample = random_operations.GENERATORS[name](np.random.default_rng((SEED, case)))
            number, content = len(written_files), written(sample)
            (folder / f"{number}.tflite").write_bytes(content)
            np.savez(folder / f"{number}.npz", *fed_values(sample))
            written_files[number] = name, sample, content
    return written_files


def compare(folder, written_files):
    """Return a row for each form of an operation."""
    rows = {}
    for number, (name, sample, content) in written_files.items():
        row = rows.setdefault(name, {"name": name, "files": 0, "values": 0, "refused": 0})
        found = folder / f"{number}.out.npz"
        if not found.exists():
            row["refused"] += 1
            continue
        with np.load(found) as stored:
            outputs = {key: stored[key] for key in stored.files}
        row["files"] += 1
        row["values"] += sum(value.size for key, value in outputs.items() if key.startswith("xnn"))
        for arithmetic in SETS:
            if not random_operations.runs([name], [arithmetic]):
                continue
            ours = in_python(
                sample, content, random_operations.kernel_of(name), arithmetic, graph=False
            )
            for kernels in SETS:
                differing = [
                    np.count_nonzero(outputs[f"{kernels}_{place}"] != value)
                    for place, value in enumerate(ours)
                    if f"{kernels}_{place}" in outputs
                ]
                key = f"{kernels} on ARM, {arithmetic} arithmetic"
                row[key] = row.get(key, 0) + int(sum(differing))
    return list(rows.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", required=True, help="where the figures go")
    parser.add_argument("--files", type=int, default=30, help="of each form (default: 30)")
    parser.add_argument("--only", help="forms that begin so, such as CONV_2D")
    arguments = parser.parse_args()
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    sys.path.append(str(BENCHMARKS.parent / "tests" / "exporters" / "bundling"))
    board = importlib.import_module("arm_root").build(cache / "tfcompress")
    names = [name for name in random_operations.GENERATORS if name.startswith(arguments.only or "")]
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        written_files = write_files(folder, names, arguments.files)
        program = [str(BENCHMARKS / "litert_files.py"), str(folder)]
        answer = board.run(program, "ai_edge_litert")
        if answer.returncode:
            raise SystemExit(answer.stderr[-2000:])
        rows = compare(folder, written_files)
    for row in rows:
        print(row, flush=True)
    pathlib.Path(arguments.json).write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
