"""Which models each technique takes."""

from .goals import Goal, table

TITLE = "Coverage"
PARTS = ("coverage_matrix", "quantization_coverage", "zoo_coverage")
ABOUT = (
    "Every family of keras.applications and a zoo of layers, with random weights and small inputs: "
    "each cell of the matrix is a run of its own, and whole networks are trained "
    "quantization-aware, exported and run. [The tables, cell by cell](coverage.md)."
)


def goals(found):
    """Return that every technique of ours takes every model."""
    result = []
    if matrix := found.get(PARTS[0]):
        ours = [row for row in matrix["rows"] if not row["cell"].startswith("TFMOT")]
        works = sum("figures" in row for row in ours)
        result.append(_all("cells of the matrix that work, ours", works, len(ours)))
    if rows := found.get(PARTS[1]):
        works = sum(not row["error"] for row in rows.values())
        result.append(_all("models that are trained quantization-aware and run", works, len(rows)))
    if zoo := found.get(PARTS[2]):
        for cell, share in _ZOO_SHARES.items():
            own = [row for row in zoo["rows"] if row["cell"] == cell]
            works = sum("figures" in row for row in own)
            wanted = f"{share:.0%}"
            reached = works >= share * len(own)
            result.append(Goal(f"zoo: {cell}", wanted, f"{works} of {len(own)}", "", reached))
    return result


# The share of the zoo that each technique has to take; of channel removal, to make smaller.
_ZOO_SHARES = {"QAT": 0.95, "PTQ int8": 1.0, "pruning": 1.0, "channel removal": 0.85}


def _all(what, works, count):
    return Goal(what, "all", f"{works} of {count}", "", works == count)


def lines(found):
    """Return the counts of the matrix, and what of the whole networks fails."""
    text = []
    if matrix := found.get(PARTS[0]):
        columns = dict.fromkeys(row["cell"] for row in matrix["rows"])
        text += table(
            ["", "works", "fails", "not in tf_keras"],
            [[column, *_counts(matrix["rows"], column)] for column in columns],
        )
        text += [f"{cell} is left out: {why}." for cell, why in matrix["left_out"].items()]
    if rows := found.get(PARTS[1]):
        done = [row for row in rows.values() if not row["error"]]
        failed = {
            name: row["error"].splitlines()[-1][:160] for name, row in rows.items() if row["error"]
        }
        same, near = (sum(row[key] == 1 for row in done) for key in ("equal", "within_one"))
        text += [
            f"Of {len(done)} models that work quantization-aware, {same} are equal in every "
            f"output and {near} within 1 LSB.",
            "",
        ]
        text += table(["fails", "why"], failed.items()) if failed else []
    return text


def _counts(rows, column):
    own = [row for row in rows if row["cell"] == column]
    return [sum(kind in row for row in own) for kind in ("figures", "error", "left_out")]
