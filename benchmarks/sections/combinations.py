"""Combinations of techniques on MNIST, ours beside TFMOT's."""

from .goals import Goal, at_least, table

TITLE = "Combinations"
PARTS = ("combinations",)
ABOUT = (
    "MNIST, the network of TFMOT's notebooks. Accuracy of the .tflite file in the interpreter, "
    "and how many times smaller it is after gzip than the start's float file."
)
# How many times smaller TFMOT says that its files are.
PUBLISHED = {
    "pruning": 3,
    "clustering": 6,
    "QAT": 4,
    "pruning + PTQ": 10,
    "pruning + clustering + QAT": None,
}
TAUGHT = "the same, smaller, taught, ours"


def goals(found):
    """Return that each of ours is as small as TFMOT's in the same run at no lower accuracy."""
    rows = {row["method"]: row for row in found.get(PARTS[0], ())}
    result = []
    for name, published in PUBLISHED.items():
        rival = rows.get(f"{name}, TFMOT")
        # "clustering to 12" and the like are variants of the same technique.
        variants = [row for method, row in rows.items() if _is_ours(method, name)]
        if not (rival and variants):
            continue
        wins = [row for row in variants if _beats(row, rival)]
        best = wins[0] if wins else variants[0]
        if published:
            result.append(
                at_least(f"{best['method']}: smaller", published, best["ratio"], "{:.1f}x")
            )
        result.append(
            Goal(
                f"{best['method']}, against TFMOT",
                f"{rival['ratio']:.1f}x at {100 * rival['accuracy']:.2f} %",
                f"{best['ratio']:.1f}x at {100 * best['accuracy']:.2f} %",
                f"deviation {100 * best['deviation']:.2f}",
                bool(wins),
            )
        )
    if taught := rows.get(TAUGHT):
        loss = -100 * taught["to_float"]
        result.append(
            Goal(
                "combined and taught",
                "20x, within 0.5 points of float",
                f"{taught['ratio']:.1f}x, {loss:.2f} points",
                f"deviation {100 * taught['deviation']:.2f}",
                taught["ratio"] >= 20 and loss <= 0.5,
            )
        )
    return result


def _is_ours(method, name):
    return method.endswith(", ours") and method.removesuffix(", ours").split(" to ")[0] == name


def _beats(row, rival):
    return row["ratio"] >= rival["ratio"] and row["accuracy"] >= rival["accuracy"]


def lines(found):
    """Return the table of all methods."""
    return table(
        ["method", "accuracy, %", "to float", "bytes, gzip", "smaller"],
        [
            [
                row["method"],
                f"{100 * row['accuracy']:.2f} ± {100 * row['deviation']:.2f}",
                f"{100 * row['to_float']:+.2f}",
                f"{row['gzip_bytes']:,.0f}",
                f"{row['ratio']:.1f}x",
            ]
            for row in found[PARTS[0]]
        ],
    )
