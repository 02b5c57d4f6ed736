"""Softmax and sigmoid models trained quantization-aware, beside their twins with logits."""

from .goals import points_over, table

TITLE = "Softmax and sigmoid heads in quantization-aware training"
PARTS = ("probability_heads",)
ABOUT = (
    "A small network on the sign digits at 32x32, and its twin that ends in logits: the same "
    "weights at the start, the same batches. Accuracy on held-out photos, mean and deviation over "
    "the seeds, of the integers that the device computes; of the float model in float."
)


def goals(found):
    """Return that a head is as good as its twin, to the deviation of the seeds."""
    rows = {(row["head"], row["way"], row["output"]): row for row in found.get(PARTS[0], ())}
    pairs = [(key, rows[*key[:2], "logits"]) for key in rows if (*key[:2], "logits") in rows]
    return [
        points_over(
            f"{head}, {way}: points over its twin",
            rows[head, way, output],
            twin,
            -round(100 * twin["deviation"], 2),
        )
        for (head, way, output), twin in pairs
        if output == head
    ]


def lines(found):
    """Return the table of accuracies."""
    return table(
        ["loss of", "training", "output", "accuracy, %", "seeds"],
        [
            [
                row["head"],
                row["way"],
                row["output"],
                f"{100 * row['accuracy']:.2f} ± {100 * row['deviation']:.2f}",
                len(row["runs"]),
            ]
            for row in found[PARTS[0]]
        ],
    )
