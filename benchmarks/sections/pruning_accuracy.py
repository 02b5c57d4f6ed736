"""Accuracy after pruning, ours beside TFMOT's."""

from .goals import left_out, measured, points_over, table

TITLE = "Accuracy of pruned models"
PARTS = ("pruning_accuracy",)
ABOUT = (
    "The same start, schedule, data, optimizer and number of epochs for both; accuracy of the "
    "Keras model on held-out data, mean and deviation over the seeds."
)


def goals(found):
    """Return, for each data set and sparsity, that ours is no worse than TFMOT's."""
    rows = {(r["data"], r["target"], r["method"]): r for r in measured(found.get(PARTS[0], ()))}
    return [
        points_over(
            f"{data}, {target:.0%} pruned: points over TFMOT", row, rows[data, target, "TFMOT"]
        )
        for (data, target, method), row in rows.items()
        if method == "ours" and (data, target, "TFMOT") in rows
    ]


def lines(found):
    """Return the table of accuracies."""
    rows = found[PARTS[0]]
    return left_out(rows) + table(
        ["data", "method", "sparsity", "accuracy, %"],
        [
            [
                row["data"],
                row["method"],
                f"{row['sparsity']:.0%}",
                f"{100 * row['accuracy']:.2f} ± {100 * row['deviation']:.2f}",
            ]
            for row in measured(rows)
        ],
    )
