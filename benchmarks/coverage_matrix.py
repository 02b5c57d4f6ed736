"""Which models each technique takes: every model of the coverage tables, one by one.

A cell is a real run on a fresh model with random weights: pruned, clustered and quantization-aware
models are trained for some steps, smaller models and files are run and compared with the model
that they were made of, and TFMOT does what it can with the same model on tf_keras. Networks are cut
off where every kind of block has come, and have about the smallest inputs that they take.

A few models share a process, which has limits on the time of a cell and on memory; what ends it
counts as a failure of its cell. Finished cells are kept, and an interrupted run goes on.

    python benchmarks/coverage_matrix.py --rows rows.jsonl --json coverage_matrix.json
    python benchmarks/coverage_matrix.py --models LSTM GRU --cells QAT "PTQ int8"
    python benchmarks/coverage_matrix.py --rows rows.jsonl --again       # what failed
"""

import argparse
import json
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from coverage_models import ROWS
from coverage_page import FORMS
from finished_rows import FinishedRows
from limited_work import do_pieces, finish
from peers import those_present

KEYS = ("model", "cell")
SECONDS, GIBIBYTES = 240, 8
# Models that share a process: a new one takes as long to start as a small model to be done.
TOGETHER = 4


def measure(model, cell):
    """Run a cell and return its figures."""
    from coverage_cells import CELLS

    return CELLS[cell](ROWS[model])


def shown(row):
    if figures := row.get("figures"):
        return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
                         for k, v in figures.items())  # fmt: skip
    return f"FAILS {row['error']}"[:160] if "error" in row else f"left out: {row['left_out']}"[:160]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=ROWS, default=list(ROWS), metavar="MODEL")
    parser.add_argument("--cells", nargs="+", choices=FORMS, default=list(FORMS), metavar="CELL")
    parser.add_argument("--rows", type=pathlib.Path, help="keeps finished work, to go on from")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    parser.add_argument("--again", action="store_true", help="measure anew what failed")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="limit of a cell")
    parser.add_argument("--pieces", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pieces:
        do_pieces(options.pieces, measure, options.rows, options.seconds, GIBIBYTES)
        return
    peers = {cell: "TFMOT" for cell in options.cells if cell.startswith("TFMOT")}
    cells, left_out = those_present(options.cells, peers)
    with tempfile.TemporaryDirectory() as folder:
        path = options.rows or pathlib.Path(folder) / "rows.jsonl"
        if options.again:
            FinishedRows(path, KEYS).drop(
                lambda row: (
                    "error" in row and row["model"] in options.models and row["cell"] in cells
                )
            )
        command = [__file__, "--rows", os.fspath(path), "--seconds", str(options.seconds)]
        for start in range(0, len(options.models), TOGETHER):
            models = options.models[start : start + TOGETHER]
            pieces = [{"model": model, "cell": cell} for model in models for cell in cells]
            for row in finish(pieces, [*command, "--pieces"], path, options.seconds):
                seconds = row["seconds"] or options.seconds
                print(
                    f"{row['model']:24}{row['cell']:18}{seconds:7.1f} s  {shown(row)}", flush=True
                )
        rows = FinishedRows(path, KEYS).rows
    if options.json:
        figures = {"rows": rows, "left_out": left_out}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
