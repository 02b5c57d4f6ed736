"""Long operations of the command and the library, killed at random moments."""

import signal
import tempfile

from soaking.processes import TRIALS, rows_of, table

WRITING = ("export", "bundle", "report", "sensitivity", "prune_iteratively", "cache_teacher")
CALLS = ("sensitivity", "prune_iteratively", "cache_teacher")  # SIGTERM kills them, too
FEWER = 4  # each begins anew: so many times fewer moments


def measure(sizes):
    """Return a row for each operation and signal."""
    times = max(1, sizes.moments // FEWER)
    return _kill(times, signal.SIGKILL, WRITING) + _kill(times, signal.SIGTERM, CALLS)


def _kill(times, number, names):
    with tempfile.TemporaryDirectory() as folder:
        return rows_of(TRIALS / "killed_operations.py", folder, times, int(number), *names)


def text(rows):
    """Return the figures as Markdown."""
    return table(
        ["operation", "signal", "killed", "over before", "drafts left", "anything wrong"],
        [
            (
                row["operation"],
                row["signal"],
                row["killed"],
                row["too late"],
                row["drafts"],
                len(row["problems"]),
            )
            for row in rows
        ],
    )


def failed(rows):
    """Return the rows that show a fault."""
    return [row for row in rows if row["problems"]]
