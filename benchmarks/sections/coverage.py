"""Which models quantization-aware training takes."""

from .goals import Goal, table

TITLE = "Coverage of quantization-aware training"
PARTS = ("quantization_coverage",)
ABOUT = (
    "Each model wrapped, trained for some steps, exported and run; networks of keras.applications "
    "with random weights and small inputs. [The whole table](coverage.md)."
)


def goals(found):
    """Return that every model works."""
    rows = found.get(PARTS[0])
    if not rows:
        return []
    works = sum(not row["error"] for row in rows.values())
    return [
        Goal(
            "models that are trained, exported and run",
            "all",
            f"{works} of {len(rows)}",
            "",
            works == len(rows),
        )
    ]


def lines(found):
    """Return what fails, and the summary of what works."""
    rows = found[PARTS[0]]
    done = [row for row in rows.values() if not row["error"]]
    failed = {
        name: row["error"].splitlines()[-1][:160] for name, row in rows.items() if row["error"]
    }
    near = sum(row["within_one"] == 1 for row in done)
    text = [f"Of {len(done)} models that work, {near} agree within 1 LSB on every output.", ""]
    return text + (table(["fails", "why"], failed.items()) if failed else [])
