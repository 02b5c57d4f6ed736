"""A softmax model trained quantization-aware, beside its twin with logits."""

from .goals import points_over, table

TITLE = "Softmax heads in quantization-aware training"
PARTS = ("probability_heads",)
ABOUT = (
    "A small network from scratch on the sign digits at 32x32; accuracy on held-out photos, mean "
    "and deviation over the seeds. The integers of the device, but for the float row."
)
SOFTMAX, LOGITS = "softmax, quantization-aware", "logits, quantization-aware"


def goals(found):
    """Return that the softmax model is as good as its twin, to the deviation of the seeds."""
    rows = {row["way"]: row for row in found.get(PARTS[0], ())}
    if not rows:
        return []
    limit = -round(100 * rows[LOGITS]["deviation"], 2)
    return [points_over("softmax: points over logits", rows[SOFTMAX], rows[LOGITS], limit)]


def lines(found):
    """Return the table of accuracies."""
    return table(
        ["model", "accuracy, %", "seeds"],
        [
            [
                row["way"],
                f"{100 * row['accuracy']:.2f} ± {100 * row['deviation']:.2f}",
                len(row["runs"]),
            ]
            for row in found[PARTS[0]]
        ],
    )
