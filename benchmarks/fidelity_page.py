"""The tables of docs/fidelity.md, from the rows of benchmarks/quantization_fidelity.py."""

import re

from sections.fidelity import OWN_KERNELS, method_name, outputs_table, summary
from sections.goals import table

KERNEL_SETS = ("xnnpack", "builtin", "reference")


def fidelity_tables(rows):
    """Return {name of a place on the page: the lines of its table}."""
    trained = [row for row in rows if row.get("trained") or "left_out" in row]
    fresh = [row for row in rows if row not in trained]
    return {
        "trained": outputs_table(trained),
        "fresh": fresh_table(fresh),
        "other kernels": kernels_table(trained),
        "kinds": kinds_table(rows),
    }


def fresh_table(rows):
    """Return the lines of a table with a network that was not trained a row."""
    found = []
    for row in rows:
        figures = summary([row], row["method"])
        told = [figures.get("error", "")] + [""] * 3
        if "equal" in figures:
            told = [
                f"{row['distinct']} of {row['examples']}",
                f"{figures['values']:,}",
                f"{figures['differing']:,}",
                f"{figures['largest']:.0f} LSB",
            ]
        found.append([row["model"], row["method"], *told])
    headings = ["model", "kernels", "examples with outputs of their own"]
    return table([*headings, "values", "differ", "largest"], found)


def kernels_table(rows):
    """Return the lines of a table of equal shares in kernels that a model may not be made for."""
    found = []
    for model, method in dict.fromkeys((row["model"], row["method"]) for row in rows):
        own = [row for row in rows if (row["model"], row["method"]) == (model, method)]
        figures = [summary(own, kernels) for kernels in KERNEL_SETS]
        if any("equal" in each for each in figures):
            made_for = method if method in OWN_KERNELS else ""
            shares = [f"{each['equal']:.2%}" if "equal" in each else "" for each in figures]
            found.append([model, method_name(method), made_for, *shares])
    return table(["model", "method", "made for", *(f"in {name}" for name in KERNEL_SETS)], found)


def kinds_table(rows):
    """Return the lines of a table with the worst operation of each kind, over all networks."""
    worst = {}
    for row in rows:
        for entry in row.get("operations", ()):
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
