"""Which architectures of the zoo each technique takes, one by one, and how long that takes.

A cell is a real run on a fresh model with random weights, as in the matrix of coverage. A few
models share a process, which has limits on the time of a cell and on memory. Finished cells are
kept, and an interrupted run goes on.

    python benchmarks/zoo_coverage.py --rows rows.jsonl --json zoo_coverage.json
    python benchmarks/zoo_coverage.py --models swin vit --cells QAT
    python benchmarks/zoo_coverage.py --rows rows.jsonl --again       # what failed
"""

import argparse
import json
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from coverage_matrix import SECONDS, shown
from finished_rows import FinishedRows
from limited_work import do_pieces, finish
from zoo import MODELS

KEYS = ("model", "cell")
GIBIBYTES, TOGETHER = 8, 12
CELLS = ("QAT", "PTQ int8", "pruning", "channel removal")


def measure(model, cell):
    """Run a cell and return its figures."""
    from coverage_cells import CELLS
    from coverage_models import Row

    row = Row("zoo", lambda library: MODELS[model]())
    return quantize_aware(row) if cell == "QAT" else CELLS[cell](row)


def quantize_aware(row):
    """Train with the default scheme, and export with its evidence; both are timed."""
    import keras
    from coverage_cells import agreement_figures, begin, trained

    import tfcompress as tfc
    from exporters import export_tflite

    model, data, inputs = begin(keras, row)
    start = time.perf_counter()
    quantized = tfc.quantize_aware(model)
    wrapped = time.perf_counter()
    trained(keras, quantized, data)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.tflite"
        begun = time.perf_counter()
        report = export_tflite(quantized, path, validation_data=inputs).report
        exported = time.perf_counter()
    return agreement_figures(report.agreement.ran[0].outputs) | {
        "float_operations": list(report.float_operations),
        "wrapping_s": wrapped - start,
        "export_s": exported - begun,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL"
    )
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), metavar="CELL")
    parser.add_argument("--rows", type=pathlib.Path, help="keeps finished work, to go on from")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    parser.add_argument("--again", action="store_true", help="measure anew what failed")
    parser.add_argument("--pieces", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pieces:
        do_pieces(options.pieces, measure, options.rows, SECONDS, GIBIBYTES)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = options.rows or pathlib.Path(folder) / "rows.jsonl"
        if options.again:
            FinishedRows(path, KEYS).drop(
                lambda row: (
                    "error" in row
                    and row["model"] in options.models
                    and row["cell"] in options.cells
                )
            )
        command = [__file__, "--rows", os.fspath(path), "--pieces"]
        for start in range(0, len(options.models), TOGETHER):
            models = options.models[start : start + TOGETHER]
            pieces = [{"model": name, "cell": cell} for name in models for cell in options.cells]
            for row in finish(pieces, command, path, SECONDS):
                print(f"{row['model']:28}{row['cell']:18}{shown(row)}", flush=True)
        rows = FinishedRows(path, KEYS).rows
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
