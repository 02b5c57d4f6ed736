"""Accuracy and bytes after pruning, ours beside TFMOT's."""

from .goals import all_rows, at_most, left_out, measured, points_over, table

TITLE = "Accuracy of pruned models"
PARTS = ("pruning_accuracy_cifar", "pruning_accuracy_signs", "pruning_accuracy_mnist")
ABOUT = (
    "The same start, schedule, data, optimizer and number of epochs for all; accuracy of the int8 "
    "file on held-out data, mean and deviation over the seeds, and its bytes after gzip. A recipe "
    "(`tfc.recipe`) brings its own optimizer, quantization-aware training and the dense net as "
    "teacher, for as many epochs, and starts from `tfc.prune_weights`."
)
# Points over TFMOT that are wanted, where it is more than none.
WANTED = {("CIFAR-10, ResNet-8", 0.75): 4, ("CIFAR-10, ResNet-8", 0.9): 10}
# Points below the dense net, trained as long, that a recipe may lose.
LOST = {("CIFAR-10, ResNet-8", 0.75): 3, ("CIFAR-10, ResNet-8", 0.9): 12}


def goals(found):
    """Return that ours wins at no more bytes, by data set and sparsity; recipes lose little."""
    rows = {(r["data"], r["target"], r["method"]): r for r in measured(all_rows(found, PARTS))}
    reached = []
    for (data, target, method), row in rows.items():
        dense = rows.get((data, 0.0, "Keras 3, dense"))
        if method == "ours, recipe" and dense is not None and (data, target) in LOST:
            case = f"{data}, {target:.0%} pruned by a recipe: points over the dense net"
            reached.append(points_over(case, row, dense, -LOST[data, target]))
        theirs = rows.get((data, target, "TFMOT"))
        if method == "ours" and theirs is not None:
            case = f"{data}, {target:.0%} pruned"
            limit = WANTED.get((data, target), 0)
            reached += [
                points_over(f"{case}: points over TFMOT", row, theirs, limit),
                at_most(f"{case}: bytes", theirs["gzip_bytes"], row["gzip_bytes"], "{:,.0f}"),
            ]
    return reached


def lines(found):
    """Return the table of accuracies and bytes."""
    return left_out(all_rows(found, PARTS)) + table(
        ["data", "method", "sparsity", "accuracy, %", "seeds", "bytes, gzip"],
        [
            [
                row["data"],
                row["method"],
                f"{row['sparsity']:.0%}",
                f"{100 * row['accuracy']:.2f} ± {100 * row['deviation']:.2f}",
                len(row["seeds"]),
                f"{row['gzip_bytes']:,.0f}",
            ]
            for row in measured(all_rows(found, PARTS))
        ],
    )
