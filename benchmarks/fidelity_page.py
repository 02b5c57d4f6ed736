"""The tables of docs/fidelity.md, from the rows of benchmarks/quantization_fidelity.py."""

import re

from sections.fidelity import cells, summary
from sections.goals import table

KERNEL_SETS = ("xnnpack", "builtin", "reference")
DETAILED = "sign net"


def fidelity_tables(rows):
    """Return {name of a place on the page: the lines of its table}."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    others = [model for model in models if model != DETAILED]
    return {
        DETAILED: outputs_table(rows, [DETAILED], KERNEL_SETS),
        "others": outputs_table(rows, others, KERNEL_SETS[:1]),
        "operations of the sign net": operations_table(rows, DETAILED),
        "kinds": kinds_table(rows, models),
    }


def outputs_table(rows, models, kernel_sets):
    """Return the lines of a table of outputs: mean over the seeds, and the largest difference."""
    found = []
    for model in models:
        for method in dict.fromkeys(row["method"] for row in rows):
            own = [row for row in rows if (row["model"], row["method"]) == (model, method)]
            for kernels in kernel_sets if own else ():
                entry = summary(own, kernels)
                found.append([model, method, kernels, *cells(entry)])
                if "equal" not in entry:  # the reason holds for all of them
                    break
    return table(
        ["model", "method", "kernels", "equal", "within 1 LSB", "largest", "same class", "seeds"],
        found,
    )


def operations_table(rows, model):
    """Return the lines of a table with every operation of a model's first seed."""
    alone = [f"alone, {kernels}" for kernels in KERNEL_SETS]
    return table(
        ["operation", "handed out by", "with all before", *alone],
        [
            [
                entry["operation"],
                f"`{entry['point']}`",
                share(entry["together"]),
                *(share(entry["alone"].get(kernels)) for kernels in KERNEL_SETS),
            ]
            for entry in account(rows, model)
        ],
    )


def kinds_table(rows, models):
    """Return the lines of a table with the worst operation of each kind, over models."""
    worst = {}
    for model in models:
        for entry in account(rows, model):
            for kernels, found in entry["alone"].items():
                kept = worst.setdefault((entry["operation"], kernels), dict(found))
                for key in ("share", "largest"):
                    kept[key] = max(kept[key], found[key])
    return table(
        ["operation", *KERNEL_SETS],
        [
            [operation, *(share(worst.get((operation, kernels))) for kernels in KERNEL_SETS)]
            for operation in sorted({operation for operation, _ in worst})
        ],
    )


def account(rows, model):
    """Return how each operation of a model's first seed agrees."""
    return next(
        (row["operations"] for row in rows if row["model"] == model and "operations" in row), []
    )


def share(found):
    """Return how many values differ, and by how much at most."""
    if found is None:
        return ""
    if not found["largest"]:
        return "equal"
    return f"{found['share'] * 1e6:,.0f} ppm, {found['largest']} LSB"


def with_tables(text, records):
    """Return docs/fidelity.md with its tables written anew, of {part: record}.

    They stand between "<!-- table NAME -->" and "<!-- end -->".

    Raises:
        ValueError: the page lacks a place.
    """
    record = records.get("quantization_fidelity")
    for name, lines in fidelity_tables(record["figures"]).items() if record else ():
        pattern = rf"(<!-- table {re.escape(name)} -->\n).*?(<!-- end -->)"
        written = "\n".join([*lines, ""])
        text, count = re.subn(
            pattern, lambda m, written=written: m[1] + written + m[2], text, flags=re.DOTALL
        )
        if not count:
            raise ValueError(f"the page of fidelity has no place for the table {name!r}")
    return text
