"""Random files of every operation, in LiteRT's kernels and in our arithmetic.

    python benchmarks/soaking/random_files.py VALUES KIND KERNELS

A process of its own for each kind of operation and kernel set: a crash there is a result. Finished
forms are kept until all are, and an interrupted run goes on.
"""

import json
import pathlib
import sys

if __name__ == "__main__":
    sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]

from finished_rows import FinishedRows

from soaking.processes import ROOT, rows_of, table

KERNELS = ("xnnpack", "reference", "micro")
KINDS = ("arithmetic", "functions", "moves")
ROWS = ROOT / "benchmarks" / "results" / "unfinished" / "operations.rows.jsonl"


def measure(sizes):
    """Return a row for each form of an operation and each kernel set."""
    ROWS.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        row
        for kind in KINDS
        for kernels in KERNELS
        for row in rows_of(__file__, sizes.values, kind, kernels)
    ]
    ROWS.unlink(missing_ok=True)
    return rows


def text(rows):
    """Return the figures as Markdown, an operation with all its forms in a line."""
    operations = dict.fromkeys(row["name"].split()[0] for row in rows)
    present = [name for name in KERNELS if any(row["kernels"] == name for row in rows)]
    lines = table(
        ["operation", "forms", "files", "values", *(f"differ, {name}" for name in present)],
        [_line(operation, rows, present) for operation in sorted(operations)],
    )
    files, values = (sum(row[key] for row in rows) for key in ("files", "values"))
    runs = f"{len(rows)} forms of {len(operations)} operations in a kernel set"
    facts = [f"{files:,} files of {runs}, {values:,} values."]
    if absent := [name for name in KERNELS if name not in present]:
        facts.append(f"Left out, as its runtime was not installed: {', '.join(absent)}.")
    return [*facts, "", *lines]


def _line(operation, rows, kernels):
    own = [row for row in rows if row["name"].split()[0] == operation]
    forms = dict.fromkeys(row["name"].partition(" ")[2].lower() for row in own)
    counts = [f"{sum(row[key] for row in own):,}" for key in ("files", "values")]
    return [operation, "; ".join(forms), *counts, *(_differing(own, name) for name in kernels)]


def _differing(rows, kernels):
    found = [row for row in rows if row["kernels"] == kernels]
    if not found:
        return "no kernel"
    differing = sum(row["differing"] for row in found)
    if not differing:
        return "0"
    return f"{differing:,}, by {max(row['largest'] for row in found):g} at most"


def failed(rows):
    """Return the rows that show a fault."""
    return [row for row in rows if row["differing"]]


def compare(values, kind, kernels):
    """Compare each generator of a kind; print a row for each, none without the runtime."""
    import random_operations

    generators = getattr(random_operations, kind).GENERATORS
    present = [name for name in random_operations.KERNELS if name == kernels]
    rows = FinishedRows(ROWS, ("name", "kernels", "asked"))
    for name, _ in random_operations.runs(generators, present):
        piece = {"name": name, "kernels": kernels, "asked": values}
        row = rows.find(**piece)
        if row is None:
            kernel = random_operations.kernel_of(name)
            count = random_operations.check_values(generators[name], kernel, kernels, values)
            row = rows.add(**piece, **count._asdict())
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    compare(int(sys.argv[1]), *sys.argv[2:])
