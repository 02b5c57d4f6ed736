"""What Arm's Vela makes of every architecture of the zoo, and how long its verdict takes.

    python benchmarks/vela_zoo.py --rows rows.jsonl --json vela_zoo.json

Each has random weights, is exported as int8 after training, and judged for the Ethos-U55 with 128
multipliers. Finished rows are kept, and an interrupted run goes on.
"""

import argparse
import json
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from finished_rows import FinishedRows
from limited_work import do_pieces, finish
from zoo import MODELS

TARGET, SECONDS, GIBIBYTES, TOGETHER = "ethos-u55-128", 240, 8, 12


def measure(model):
    """Return what the compiler says of a model, and the seconds that it takes."""
    from coverage_cells import begin_filled
    from coverage_models import Row

    from exporters import check_target
    from exporters.converting import convert_model

    built, _, inputs = begin_filled(Row("zoo", lambda library: MODELS[model]()))
    content = convert_model(built, "int8", representative_data=inputs).flatbuffer
    begin = time.perf_counter()
    verdict = check_target(content, TARGET)
    seconds = time.perf_counter() - begin
    if verdict.compiled is None:
        return {"verdict_s": seconds, "refused": "; ".join(verdict.reasons)}
    on_cpu = len(verdict.compiled.left_on_cpu)
    return {
        "verdict_s": seconds,
        "on_npu": verdict.compiled.operations - on_cpu,
        "on_cpu": on_cpu,
        "cycles": verdict.compiled.cycles,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL"
    )
    parser.add_argument("--rows", type=pathlib.Path, help="keeps finished work, to go on from")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    parser.add_argument("--pieces", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pieces:
        do_pieces(options.pieces, measure, options.rows, SECONDS, GIBIBYTES)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = options.rows or pathlib.Path(folder) / "rows.jsonl"
        command = [__file__, "--rows", os.fspath(path), "--pieces"]
        for start in range(0, len(options.models), TOGETHER):
            pieces = [{"model": name} for name in options.models[start : start + TOGETHER]]
            for row in finish(pieces, command, path, SECONDS):
                print(row, flush=True)
        rows = FinishedRows(path, ("model",)).rows
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
