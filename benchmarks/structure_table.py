"""The rows of benchmarks/structure.py as Markdown tables."""

import operator
import statistics


def tables(rows):
    """Return a heading and a table for each part that has rows."""
    parts = {part: [row for row in rows if row["part"] == part] for part in _TABLES}
    written = "Written by `benchmarks/structure.py`.\n"
    return (
        "# Structure, measured\n\n"
        + written
        + "\n"
        + "\n".join(make(parts[part]) for part, make in _TABLES.items() if parts[part])
    )


def _exactness(rows):
    lines = [
        "## Exactness",
        "",
        "Half of the channels of each group removed by L1, random weights in every variable. The "
        "difference is the largest between the smaller model and the original whose weights that "
        "read removed channels are zero, relative to the largest output.",
        "",
        "| architecture | parameters, thousands | MACs, millions | removal, s | difference |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        parameters = [f"{count / 1e3:,.0f}" for count in row["parameters"]]
        macs = [f"{count / 1e6:,.1f}" for count in row["macs"]]
        lines.append(
            f"| {row['model']} | {' → '.join(parameters)} | {' → '.join(macs)} "
            f"| {row['seconds']:.1f} | {row['difference']:.0e} |"
        )
    return "\n".join(lines) + "\n"


def _accuracy(rows):
    lines = [
        "## Accuracy",
        "",
        "Sign digits at 32x32, a residual net, on held-out photos. Fine-tuning is the same for "
        "all, the net from which nothing was removed included; the loss is against it.",
        "",
        "| channels chosen by | MACs left | at once | after fine-tuning | loss, points |",
        "|---|---|---|---|---|",
    ]
    unpruned = {row["seed"]: row["after"] for row in rows if row["what"] == "float"}
    for what in dict.fromkeys(row["what"] for row in rows):
        found = [row for row in rows if row["what"] == what]
        after, loss = "", ""
        if found[0]["after"] is not None:
            after = _spread([100 * row["after"] for row in found])
            loss = f"{100 * statistics.mean(unpruned[r['seed']] - r['after'] for r in found):.1f}"
        name, _, _ = what.partition(" at ")
        share = statistics.mean(row["share"] for row in found)
        at_once = _spread([100 * row["before"] for row in found])
        lines.append(f"| {name} | {share:.0%} | {at_once} | {after} | {loss} |")
    seeds = len({row["seed"] for row in rows})
    lines += ["", f"Per cent; mean, and deviation of several seeds. Seeds: {seeds}.", ""]
    return "\n".join(lines)


def _spread(values):
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"


def speeds(rows):
    """Return {(net, numbers): how many times as fast the smaller files are, for each seed}."""
    found = {}
    for row in rows:
        for numbers in ("float32", "int8"):
            times = (row["medians"][f"{label}_{numbers}"] for label in ("original", "smaller"))
            found.setdefault((row["model"], numbers), []).append(operator.truediv(*times))
    return found


def points_lost(rows):
    """Return {net: points lost after equal fine-tuning, for each seed}."""
    found = {}
    for row in rows:
        if "accuracies" in row:
            whole, smaller = row["accuracies"]
            found.setdefault(row["model"], []).append(100 * (whole - smaller))
    return found


def _latency(rows):
    lines = [
        "## Latency",
        "",
        "One thread, in turns in one run, on x86-64; rounded to multiples of eight channels. Of "
        "MobileNet half of the multiplications go. Of the small nets channels go until the file "
        "is as fast as was asked: the residual net's int8 file, the sign net's float file. They "
        "are trained on sign digits; the loss is against the whole net, fine-tuned as long.",
        "",
        "| net | seeds | MACs left | numbers | original, ms | smaller, ms | ratio | loss, points |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lost = points_lost(rows)
    for (model, numbers), ratios in speeds(rows).items():
        those = [row for row in rows if row["model"] == model]
        left = statistics.mean(row["macs"][1] / row["macs"][0] for row in those)
        times = [
            f"{1000 * statistics.mean(row['medians'][f'{label}_{numbers}'] for row in those):.3f}"
            for label in ("original", "smaller")
        ]
        loss = _spread(lost[model]) if model in lost else ""
        lines.append(
            f"| {model} | {len(those)} | {left:.0%} | {numbers} | {' | '.join(times)} "
            f"| {statistics.mean(ratios):.2f} | {loss} |"
        )
    return "\n".join(lines) + "\n"


_TABLES = {"exactness": _exactness, "accuracy": _accuracy, "latency": _latency}
