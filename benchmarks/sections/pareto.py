"""Accuracy against the gzipped size of the file, ours beside TFMOT's, of every method at once."""

import dataclasses

import numpy as np

from . import pruning_accuracy, quantization_accuracy
from .goals import all_rows, at_most, measured, table

TITLE = "Accuracy against size"
PARTS = ("combinations", *pruning_accuracy.PARTS, *quantization_accuracy.PARTS)
ABOUT = (
    "Bytes of the .tflite files after gzip, means over the seeds of the sections above. Our line "
    "joins those of our files that no other one of ours beats in both; a file of TFMOT, or of "
    "tf_keras after a training as long, must not stand above it."
)


@dataclasses.dataclass(frozen=True)
class File:
    """A point of the plot.

    Attributes:
        label: the method.
        size: bytes after gzip.
        accuracy: in percent.
        theirs: whether TFMOT, or tf_keras, made it.
    """

    label: str
    size: float
    accuracy: float
    theirs: bool


def files(found):
    """Return {data set: files} of all that was measured in gzipped bytes."""
    groups = {}
    for row in measured(all_rows(found, PARTS)):
        if "gzip_bytes" in row:
            data = row.get("data", "MNIST, TFMOT's net")
            groups.setdefault(data, []).append(_file(row))
    return groups


def _file(row):
    method = row["method"]
    theirs = "TFMOT" in method or "tf_keras" in method
    pruned = f", {row['target']:.0%}" if row.get("target") else ""
    return File(method + pruned, row["gzip_bytes"], 100 * row["accuracy"], theirs)


def front(points):
    """Return the files that no other one beats: as small and as accurate; smallest first."""
    best = []
    for point in sorted(points, key=lambda point: (point.size, -point.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def highest_above(line, points):
    """Return by how many points the highest of some files stands above a line of others.

    The line is straight between files on an axis of the logarithm of bytes, level beyond the
    largest, and does not reach below the smallest.
    """
    sizes, accuracies = np.log([p.size for p in line]), [p.accuracy for p in line]
    reached = np.interp(np.log([p.size for p in points]), sizes, accuracies, left=-np.inf)
    return float(np.max([p.accuracy for p in points] - reached))


def goals(found):
    """Return, for each data set with files of both, that none of theirs is above our line."""
    result = []
    for data, points in files(found).items():
        ours, theirs = ([p for p in points if p.theirs is side] for side in (False, True))
        if ours and theirs:
            above = highest_above(front(ours), theirs)
            what = f"{data}: points of TFMOT's highest file above our line"
            result.append(at_most(what, 0.0, above))
    return result


def lines(found):
    """Return the plot, and for each of TFMOT's files ours that is no larger."""
    rows = []
    for data, points in files(found).items():
        ours = front([p for p in points if not p.theirs])
        for point in sorted((p for p in points if p.theirs), key=lambda p: p.size):
            smaller = [p for p in ours if p.size <= point.size]
            rows.append([data, *_cells(point), *(_cells(smaller[-1]) if smaller else "---")])
    figures = ["%", "bytes, gzip"]
    headings = ["data", "TFMOT's", *figures, "best of ours that is no larger", *figures]
    picture = "![Accuracy against bytes](images/benchmarks_pareto.svg)"
    return [picture, "", *(table(headings, rows) if rows else [])]


def _cells(file):
    return [file.label, f"{file.accuracy:.2f}", f"{file.size:,.0f}"]
