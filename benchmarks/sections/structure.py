"""What the removal of channels keeps and gains."""

import statistics

from structure_table import points_lost, speeds

from .goals import at_least, at_most, table

TITLE = "Structure"
PARTS = ("structure_exactness", "structure_accuracy", "structure_latency")
ABOUT = "Physically smaller models, by removing channels. [All tables](structure_table.md)."
LOSS_LIMITS = {"50%": 1.0, "30%": 3.0}
# Largest difference, relative to the largest output, that float32 rounding explains.
ROUNDING = 1e-5


def goals(found):
    """Return the goals of exactness, duration, accuracy and latency."""
    exact = found.get("structure_exactness", [])
    result = []
    if exact:
        worst = max(row["difference"] for row in exact)
        what = f"largest relative difference, {len(exact)} architectures"
        result.append(at_most(what, ROUNDING, worst, "{:.0e}"))
    for row in exact:
        if row["model"] == "ResNet50":
            result.append(at_most("removal on ResNet50", 10.0, row["seconds"], "{:.1f} s"))
    accuracy = losses(found.get("structure_accuracy", []))
    for share, limit in LOSS_LIMITS.items():
        those = {what: loss for what, loss in accuracy.items() if what.endswith(share)}
        if those:
            best = min(those, key=lambda what: statistics.mean(those[what]))
            result.append(_loss_goal(best, those[best], limit))
    latency = found.get("structure_latency", [])
    for (model, numbers), ratios in speeds(latency).items():
        mean, spread = statistics.mean(ratios), f"{min(ratios):.2f} to {max(ratios):.2f}"
        result.append(at_least(f"{model}, {numbers}: faster", 1.6, mean, "{:.2f}x", spread))
    for model, lost in points_lost(latency).items():
        what = f"{model}, faster: points lost, {len(lost)} seeds"
        spread = f"{min(lost):.2f} to {max(lost):.2f}"
        result.append(at_most(what, 1.0, statistics.mean(lost), "{:.2f}", spread))
    return result


def _loss_goal(what, loss, limit):
    spread = f"{min(loss):.2f} to {max(loss):.2f}"
    what = f"points lost, sign digits, best criterion: {what} of the MACs, {len(loss)} seeds"
    return at_most(what, limit, statistics.mean(loss), "{:.2f}", spread)


def losses(rows):
    """Return {criterion and share: points lost after equal fine-tuning, a value for each seed}."""
    whole = {row["seed"]: row["after"] for row in rows if row["what"] == "float"}
    found = {}
    for row in rows:
        if row["what"] != "float" and row["after"] is not None:
            found.setdefault(row["what"], []).append(100 * (whole[row["seed"]] - row["after"]))
    return found


def lines(found):
    """Return the tables of losses and of latencies."""
    text = []
    if rows := losses(found.get("structure_accuracy", [])):
        text += table(
            ["channels chosen by", "points lost", "from", "to", "seeds"],
            [
                [
                    what,
                    *(f"{f(loss):.2f}" for f in (statistics.mean, min, max)),
                    len(loss),
                ]
                for what, loss in rows.items()
            ],
        )
    if latency := found.get("structure_latency"):
        lost = points_lost(latency)
        text += table(
            ["net", "numbers", "faster", "points lost"],
            [
                [
                    model,
                    numbers,
                    f"{statistics.mean(ratios):.2f}x",
                    f"{statistics.mean(lost[model]):.2f}" if model in lost else "",
                ]
                for (model, numbers), ratios in speeds(latency).items()
            ],
        )
    return text
