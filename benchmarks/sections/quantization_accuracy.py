"""Accuracy of quantized files, ours beside TFMOT's."""

import statistics

from .goals import all_rows, left_out, measured, points_over, table

TITLE = "Accuracy of quantized models"
PARTS = tuple(f"quantization_accuracy_{data}" for data in ("cifar", "signs", "mnist", "spoken"))
ABOUT = (
    "The same start, data, rate and number of epochs for all; accuracy of the .tflite file in the "
    "interpreter on held-out data, mean and deviation over the seeds. Weights of 4 bits are "
    "trained by `tfc.recipe(bits=4)`, whose first and last layers keep 8; taught, by a larger net, "
    "or on CIFAR-10 by the float net."
)
# Points over another method that are wanted of one.
WANTED = {
    "QAT": {"float": -0.2, "PTQ": 0, "TFMOT": 0},
    "QAT 4-bit": {"PTQ 4-bit": 0},
    "QAT 4-bit, taught": {"float": -1.0, "QAT 4-bit": 0},
    "QAT two precisions": {"float": -0.5},
}
SHOWN_AS = {"QAT two precisions": "60 % of the 8-bit weights' bytes"}


def goals(found):
    """Return, for each data set, what a method must reach beside others."""
    rows = {(row["data"], row["method"]): row for row in measured(all_rows(found, PARTS))}
    result = []
    for data in dict.fromkeys(data for data, _ in rows):
        for method, wanted in WANTED.items():
            for other, points in wanted.items():
                if (data, method) in rows and (data, other) in rows:
                    what = f"{data}, {SHOWN_AS.get(method, method)}: points over {other}"
                    mine, theirs = rows[data, method], rows[data, other]
                    result.append(points_over(what, mine, theirs, points))
    return result


def lines(found):
    """Return the table of accuracies and sizes."""
    return left_out(all_rows(found, PARTS)) + table(
        ["data", "method", "accuracy, %", "seeds", "bytes", "gzipped"],
        [
            [
                row["data"],
                row["method"],
                f"{100 * row['accuracy']:.2f} ± {100 * row['deviation']:.2f}",
                len(row["runs"]),
                f"{statistics.mean(run['bytes'] for run in row['runs']):,.0f}",
                f"{row['gzip_bytes']:,.0f}",
            ]
            for row in measured(all_rows(found, PARTS))
        ],
    )
