"""What networks keep that are pruned after training, without training."""

from .goals import points_over, table

TITLE = "Pruning after training"
PARTS = ("pruning_after_training",)
ABOUT = (
    "MLPerf Tiny's published weights, pruned without training, then quantized after training; "
    "accuracy of the int8 file in the interpreter, over several choices of 250 unlabelled inputs."
)


def goals(found):
    """Return that half of the weights go within two points, and that it beats masks alone."""
    by_way = {(r["model"], r["method"], r["sparsity"]): r for r in found.get(PARTS[0], ())}
    made = []
    for (model, method, sparsity), row in by_way.items():
        if method != "prune_weights":
            continue
        plain = by_way[model, "by magnitude", sparsity]
        made.append(points_over(f"{model}, {sparsity:.0%}: points over masks alone", row, plain))
        if sparsity == 0.5:
            dense = by_way[model, "dense", 0.0]
            made.append(points_over(f"{model}, 50%: points over the dense file", row, dense, -2))
    return made


def lines(found):
    """Return the table of all models and ways."""
    return table(
        ["model", "method", "zeros", "accuracy, %", "choices", "bytes with gzip"],
        [
            [
                row["model"],
                row["method"],
                f"{row['sparsity']:.0%}",
                f"{100 * row['accuracy']:.2f} ± {100 * row['deviation']:.2f}",
                row["choices"],
                f"{row['gzipped']:,}",
            ]
            for row in found[PARTS[0]]
        ],
    )
