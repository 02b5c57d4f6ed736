"""Random models through every technique: `python random_model_trials.py ROWS NUMBERS`.

Finished models are kept beside the records, and the next run goes on, whenever that is: the figures
are of all that were ever tried. A process takes a few of them; what ends it counts as a failure of
the model that it was at. A model that failed is tried again.
"""

import collections
import json
import os
import pathlib
import re
import sys

if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    root = pathlib.Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(root / "benchmarks"), str(root)]

from finished_rows import FinishedRows
from limited_work import do_pieces, finish

from soaking.processes import ROOT, table

TOGETHER, SECONDS, GIBIBYTES = 100, 1200, 8
ROWS = ROOT / "benchmarks" / "results" / "random_models.rows.jsonl"
CHECKS = {
    "float file": "the float file computes what the model does",
    "saved": "a saved and loaded model is equal to the bit",
    "after training": "int8 after training: integers alone, near the model, or warned of by layer",
    "quantization-aware": "the int8 file equals the quantization-aware model to the bit",
    "pruned": "half of the weights of each kernel are zero",
    "channels": "the model without channels computes what is left of it",
}


def measure(sizes):
    """Return a row for each model that was ever tried, after those that are asked for."""
    FinishedRows(ROWS, ("model",)).drop(_is_fault)
    for start in range(0, sizes.models, TOGETHER):
        numbers = range(start, min(start + TOGETHER, sizes.models))
        pieces = [{"model": number} for number in numbers]
        finish(pieces, [__file__, os.fspath(ROWS)], ROWS, SECONDS)
    return sorted(FinishedRows(ROWS, ("model",)).rows, key=lambda row: row["model"])


def text(rows):
    """Return the figures as Markdown."""
    done = [row["figures"] for row in rows if "figures" in row]
    usable = [each for each in done if "unusable" not in each["figures"]]
    failed_checks = collections.Counter(f["check"] for each in usable for f in each["failures"])
    lines = []
    for check, what in CHECKS.items():
        refused = sum(f"refused, {check}" in each["figures"] for each in usable)
        held = len(usable) - refused - failed_checks[check]
        lines.append((what, held, refused, failed_checks[check]))
    minutes = sum(row["seconds"] or 0 for row in rows) / 60
    numbers = " and ".join(f"{first:,} to {last:,}" for first, last in _runs(rows))
    facts = [f"{len(rows):,} models, numbers {numbers}, {minutes:.0f} minutes in all."]
    if len(done) - len(usable):
        facts.append(
            f"{len(done) - len(usable)} of them give infinities or NaN, make large differences of "
            "roundings, or Keras refuses them."
        )
    if ended := len(rows) - len(done):
        facts.append(f"{ended} ended their process or took more than {SECONDS} s.")
    if operations := _refused(usable):
        facts.append(f"Refused for operations without an integer kernel: {operations}.")
    head = ["what must hold", "holds", "refused", "fails"]
    return [" ".join(facts), "", *table(head, lines)]


def _runs(rows):
    """Return the first and the last number of each run of numbers without a gap."""
    runs = []
    for row in rows:
        if runs and row["model"] == runs[-1][1] + 1:
            runs[-1][1] = row["model"]
        else:
            runs.append([row["model"]] * 2)
    return runs


def _refused(found):
    """Return the operations that refusals name, with the number of models."""
    counts = collections.Counter()
    for each in found:
        reasons = [why for name, why in each["figures"].items() if name.startswith("refused")]
        counts.update({name for why in reasons for name in re.findall(r"\b[A-Z][A-Z0-9_]+\b", why)})
    return ", ".join(f"{name} ({count})" for name, count in counts.most_common())


def failed(rows):
    """Return the rows that show a fault."""
    return [row for row in rows if _is_fault(row)]


def _is_fault(row):
    return "figures" not in row or bool(row["figures"]["failures"])


def work(model):
    """Check a model; what fails shrinks."""
    from random_models.search import trial

    return trial(model)


if __name__ == "__main__":
    do_pieces(json.loads(sys.argv[2]), work, pathlib.Path(sys.argv[1]), SECONDS, GIBIBYTES)
