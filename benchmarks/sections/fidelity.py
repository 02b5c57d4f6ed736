"""How exactly files compute what their Keras models compute."""

import statistics
import textwrap

from .goals import at_least, at_most, table

TITLE = "Fidelity"
PARTS = ("quantization_fidelity",)
ABOUT = (
    "int8 outputs of each file beside those of its Keras model, over all held-out examples, in the "
    "kernels that the model's `Scheme` names (TFMOT's: in XNNPACK). "
    "[More of it, operation by operation](fidelity.md)."
)
# The kernels that a scheme can be exact for; a method of ours is named after its own.
OWN_KERNELS = ("xnnpack", "reference")
LEAST_EQUAL = 0.999
NOT_WHOLLY = ("transformer",)


def summaries(rows):
    """Return {(model, method): figures in the method's kernels, or the reason of a failure}."""
    groups = {}
    for row in rows:
        groups.setdefault((row["model"], row["method"]), []).append(row)
    return {
        (model, method): summary(group, kernels_of(method))
        for (model, method), group in groups.items()
    }


def kernels_of(method):
    """Return the kernels that a method's files are meant for."""
    return method if method in OWN_KERNELS else OWN_KERNELS[0]


def summary(rows, kernels):
    """Return the figures of the rows of one model and method, over all seeds."""
    for reason in ("error", "left_out"):
        if told := [row[reason] for row in rows if reason in row]:
            return {reason: told[0]}
    found = [(row["values"], row["kernels"][kernels]) for row in rows if kernels in row["kernels"]]
    if len(found) < len(rows):
        told = [row.get("refused", {}).get(kernels, "") for row in rows]
        return {"refused": f"does not run in the {kernels} kernels: {' '.join(told[-1].split())}"}
    values = sum(count for count, _ in found)
    differing = sum(round(count * (1 - entry["equal"])) for count, entry in found)
    return {
        "values": values,
        "differing": differing,
        "equal": 1 - differing / values,
        "same_class": statistics.mean(entry["same_class"] for _, entry in found),
        "largest": max(entry["largest"] for _, entry in found),
        "seeds": len(found),
    }


def goals(found):
    """Return that no value of a trained network differs, and few of those of the others."""
    rows = found.get(PARTS[0], ())
    trained = {row["model"] for row in rows if row.get("trained")}
    result = []
    for kernels in OWN_KERNELS:
        ours = {
            model: figures
            for (model, method), figures in summaries(rows).items()
            if method == kernels
        }
        whole = [name for name in ours if name in trained and name not in NOT_WHOLLY]
        without = [name for name in whole if "refused" in ours[name]]
        if run := [name for name in whole if name not in without]:
            differing = sum(ours[name].get("differing", 1) for name in run)
            values = sum(ours[name].get("values", 0) for name in run)
            what = f"{kernels}: differing values of {len(run)} trained networks"
            spread = f"of {values:,}"
            if without:
                spread += f"; the runtime lacks an operation of {', '.join(without)}"
            result.append(at_most(what, 0, differing, "{:,}", spread))
        for name, figures in ours.items():
            if name not in whole:
                equal = figures.get("equal", 0)
                result.append(at_least(f"{kernels}: equal, {name}", LEAST_EQUAL, equal, "{:.3%}"))
    return result


def lines(found):
    """Return the table of all models and methods."""
    return outputs_table(found[PARTS[0]])


def outputs_table(rows):
    """Return the lines of a table with a model and a method a row."""
    return table(
        ["model", "method", "kernels", "values", "differ", "equal", "largest", "same class"],
        [
            [model, method_name(method), kernels_of(method), *cells(row)]
            for (model, method), row in summaries(rows).items()
        ],
    )


def method_name(method):
    """Return what tables call a method."""
    return "QAT" if method in OWN_KERNELS else method


def cells(row):
    """Return what a table shows of a summary."""
    if why := row.get("error") or row.get("refused"):
        return [f"fails: {textwrap.shorten(why, 200, placeholder=' ...')}", "", "", "", ""]
    if "left_out" in row:
        return [f"left out: {row['left_out']}", "", "", "", ""]
    return [
        f"{row['values']:,}",
        f"{row['differing']:,}",
        f"{row['equal']:.2%}" if row["differing"] else "all",
        f"{row['largest']:.0f} LSB",
        f"{row['same_class']:.2%}",
    ]
