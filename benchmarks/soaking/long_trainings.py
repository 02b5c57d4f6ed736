"""The memory of long trainings, and how often they trace anew."""

from soaking.processes import TRAININGS, TRIALS, rows_of, table

MOST_GROWTH = 8  # MiB between a tenth of a long training and its end


def measure(sizes):
    """Return a row for each training."""
    return [rows_of(TRIALS / "long_training.py", name, sizes.steps)[-1] for name in TRAININGS]


def text(rows):
    """Return the figures as Markdown."""
    return table(
        ["training", "steps", "memory after a tenth", "at the end", "traced again after that"],
        [
            (
                row["technique"],
                f"{row['steps']:,}",
                f"{row['early']:.0f} MiB",
                f"{row['late']:.0f} MiB",
                row["retraced"],
            )
            for row in rows
        ],
    )


def failed(rows):
    """Return the rows that show a fault."""
    return [r for r in rows if r["retraced"] or r["late"] - r["early"] > MOST_GROWTH]
