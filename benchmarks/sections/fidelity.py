"""How exactly files compute what their Keras models compute."""

import statistics
import textwrap

from .goals import Goal, at_least, table

TITLE = "Fidelity"
PARTS = ("quantization_fidelity",)
ABOUT = (
    "int8 outputs of each file beside those of its Keras model, in the interpreter with its "
    "default kernels (XNNPACK); means over the seeds, and the largest difference of all."
)


def summaries(rows):
    """Return {(model, method): figures with the default kernels, or the reason of a failure}."""
    groups = {}
    for row in rows:
        groups.setdefault((row["model"], row["method"]), []).append(row)
    return {key: summary(group) for key, group in groups.items()}


def summary(rows, kernels="xnnpack"):
    """Return the figures of the rows of one model and method: means, and the largest difference."""
    for reason in ("error", "left_out"):
        if told := [row[reason] for row in rows if reason in row]:
            return {reason: told[0]}
    found = [row["kernels"][kernels] for row in rows if kernels in row["kernels"]]
    if not found:
        return {"error": "does not run"}
    means = {
        key: statistics.mean(entry[key] for entry in found)
        for key in ("equal", "within_one", "same_class")
    }
    largest = max(entry["largest"] for entry in found)
    return means | {"largest": largest, "seeds": len(found)}


def goals(found):
    """Return the shares of the sign net, and that they are above TFMOT's."""
    rows = summaries(found.get(PARTS[0], ()))
    ours, peer = rows.get(("sign net", "QAT"), {}), rows.get(("sign net", "TFMOT"), {})
    if "equal" not in ours:
        return []
    result = [
        at_least("sign net: within 1 LSB", 0.97, ours["within_one"], "{:.2%}"),
        at_least("sign net: same class", 0.995, ours["same_class"], "{:.2%}"),
    ]
    if "equal" in peer:
        better = ours["equal"] > peer["equal"]
        wanted = f"above TFMOT's {peer['equal']:.2%}"
        result.append(Goal("sign net: equal", wanted, f"{ours['equal']:.2%}", "", better))
    return result


def lines(found):
    """Return the table of all models and methods."""
    return table(
        ["model", "method", "equal", "within 1 LSB", "largest", "same class", "seeds"],
        [
            [model, method, *cells(row)]
            for (model, method), row in summaries(found[PARTS[0]]).items()
        ],
    )


def cells(row):
    """Return what a table shows of a summary."""
    if "error" in row:
        return [f"fails: {textwrap.shorten(row['error'], 200, placeholder=' ...')}", "", "", "", ""]
    if "left_out" in row:
        return [f"left out: {row['left_out']}", "", "", "", ""]
    return [
        f"{row['equal']:.2%}",
        f"{row['within_one']:.2%}",
        f"{row['largest']:.0f} LSB",
        f"{row['same_class']:.2%}",
        row["seeds"],
    ]
