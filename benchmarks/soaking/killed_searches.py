"""A search that is killed at random moments and goes on, again and again."""

import tempfile

from soaking.processes import SEARCHES, rows_of, table


def measure(sizes):
    """Return a row."""
    with tempfile.TemporaryDirectory() as folder:
        return rows_of(SEARCHES / "killed_searches.py", folder, sizes.kills)


def text(rows):
    """Return the figures as Markdown."""
    return table(
        ["kills", "of them in a trial", "trials finished", "under way at the end", "lost or worse"],
        [
            (
                row["kills"],
                row["ended in a trial"],
                row["finished"],
                row["under way"],
                len(row["problems"]),
            )
            for row in rows
        ],
    )


def failed(rows):
    """Return the rows that show a fault."""
    return [row for row in rows if row["problems"] or row["under way"]]
