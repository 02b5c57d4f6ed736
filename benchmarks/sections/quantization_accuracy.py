"""Accuracy of quantized files, ours beside TFMOT's."""

import statistics

from .goals import left_out, measured, points_over, table

TITLE = "Accuracy of quantized models"
PARTS = ("quantization_accuracy",)
ABOUT = (
    "The same start and training for all; accuracy of the .tflite file in the interpreter on "
    "held-out data, mean and deviation over the seeds."
)
RIVALS = {"QAT": ("PTQ", "TFMOT"), "QAT 4-bit": ("PTQ 4-bit",)}


def goals(found):
    """Return, for each data set, that QAT is no worse than PTQ and TFMOT's."""
    rows = {(row["data"], row["method"]): row for row in measured(found.get(PARTS[0], ()))}
    result = []
    for data in dict.fromkeys(data for data, _ in rows):
        for ours, rivals in RIVALS.items():
            for rival in rivals:
                if (data, ours) in rows and (data, rival) in rows:
                    mine, other = rows[data, ours], rows[data, rival]
                    result.append(points_over(f"{data}, {ours}: points over {rival}", mine, other))
        if (data, "QAT two precisions") in rows:
            mine, floats = rows[data, "QAT two precisions"], rows[data, "float"]
            what = f"{data}, 60 % of the 8-bit weights' bytes: points to float"
            result.append(points_over(what, mine, floats, -0.5))
    return result


def lines(found):
    """Return the table of accuracies and sizes."""
    rows = found[PARTS[0]]
    return left_out(rows) + table(
        ["data", "method", "accuracy, %", "seeds", "bytes"],
        [
            [
                row["data"],
                row["method"],
                f"{100 * row['accuracy']:.2f} ± {100 * row['deviation']:.2f}",
                len(row["runs"]),
                _size(row["runs"]),
            ]
            for row in measured(rows)
        ],
    )


def _size(runs):
    """Some records of the float model are of Keras, without a file."""
    sizes = [run["bytes"] for run in runs if run["bytes"] is not None]
    return f"{statistics.mean(sizes):,.0f}" if sizes else ""
