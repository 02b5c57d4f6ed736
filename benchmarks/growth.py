"""How the cost of each technique grows: with the weights of a model, and with its layers.

One depthwise-separable network is made wider and wider, from 0.1 to 100 million weights. Timed are
a training step (plain, pruned, quantization-aware, with clusters), the wrapping, the export of the
quantization-aware model and the removal of half of the channels. Another one of a fixed width is
made deeper and deeper; timed are a table of sensitivities and a trial of a search. The exponent of
each is the slope of a line through the logarithms.

Each size has a process of its own in each round, with limits on time and memory: what needs more is
left out, and says so. Finished pieces are kept, and an interrupted run goes on.

    python benchmarks/growth.py --rows rows.jsonl --json growth.json
    python benchmarks/growth.py --fast
"""

import argparse
import json
import os
import pathlib
import statistics
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from limited_work import do_pieces, finish

# Of the wider network, with its techniques, and of the deeper one.
WIDTHS, FAST_WIDTHS = (125, 250, 500, 1000, 2040, 4080), (64, 125, 250)
BLOCKS, FAST_BLOCKS = (2, 4, 8, 16, 32), (2, 4)
TECHNIQUES = {
    "weights": ("plain", "pruning", "clustering", "QAT", "removal of channels"),
    "layers": ("sensitivity", "trial of a search"),
}
SECONDS, GIBIBYTES = 240, 6


def measure(series, size, technique, round):
    """Measure one technique on one size: return the seconds of what it does."""
    import growth_work

    return growth_work.SERIES[series](size, technique, round)


def make_pieces(series, sizes, rounds):
    """Return for each process the pieces that it does, round after round."""
    return [
        [
            {"series": series, "size": size, "technique": technique, "round": number}
            for technique in TECHNIQUES[series]
        ]
        for number in range(rounds)
        for size in sizes
    ]


def run(pieces, path, seconds):
    """Do all pieces but those of a size and technique that failed in a round before."""
    found, failed = [], set()
    command = [__file__, "--rows", os.fspath(path), "--seconds", str(seconds), "--pieces"]
    for group in pieces:
        left = [piece for piece in group if _kind(piece) not in failed]
        for row in finish(left, command, path, seconds) if left else ():
            found.append(row)
            if "error" in row:
                failed.add(_kind(row))
            print(f"{row['size']:6} {row['technique']:20}{told(row)}", flush=True)
    return found


def _kind(piece):
    return piece["size"], piece["technique"]


def told(row):
    if "error" in row:
        return f"left out: {row['error']}"
    times = row["figures"]["seconds"].items()
    return ", ".join(f"{what} {seconds:.3f} s" for what, seconds in times)


def summarize(rows):
    """Return medians over the rounds, exponents, and what was left out, of one series."""
    measured = {}
    for row in rows:
        if "figures" in row:
            for what, seconds in row["figures"]["seconds"].items():
                curve = measured.setdefault(what, {})
                curve.setdefault(row["figures"]["size"], []).append(seconds)
    curves = {
        what: [
            {"size": size, "seconds": statistics.median(runs), "runs": runs}
            for size, runs in sorted(curve.items())
        ]
        for what, curve in measured.items()
    }
    return {
        "curves": curves,
        "exponents": {what: exponent_of(curve) for what, curve in curves.items()},
        "left_out": [
            {key: row[key] for key in ("size", "technique", "error")}
            for row in rows
            if "error" in row
        ],
    }


def exponent_of(curve):
    sizes, seconds = ([point[key] for point in curve] for key in ("size", "seconds"))
    return fit_exponent(sizes, seconds) if len(curve) > 1 else None


def fit_exponent(sizes, seconds):
    """Return the slope of the line of least squares through the logarithms.

    Args:
        sizes: numbers of weights, or of layers.
        seconds: the time of each.

    Returns:
        The exponent: 1 where the time is proportional to the size, 0 where it does not depend.
    """
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, help="5 by default, 1 when fast")
    parser.add_argument("--fast", action="store_true", help="one round, small sizes")
    parser.add_argument("--rows", type=pathlib.Path, help="keeps finished work, to go on from")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="limit of a piece")
    parser.add_argument("--pieces", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pieces:
        do_pieces(options.pieces, measure, options.rows, options.seconds, GIBIBYTES)
        return
    rounds = options.rounds or (1 if options.fast else 5)
    sizes = {
        "weights": FAST_WIDTHS if options.fast else WIDTHS,
        "layers": FAST_BLOCKS if options.fast else BLOCKS,
    }
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        path = options.rows or pathlib.Path(folder) / "rows.jsonl"
        for series in TECHNIQUES:
            pieces = make_pieces(series, sizes[series], rounds)
            figures[series] = summarize(run(pieces, path, options.seconds))
    for series, found in figures.items():
        for what, exponent in found["exponents"].items():
            print(f"{what:32} grows with {series} to the power of {exponent or float('nan'):5.2f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
