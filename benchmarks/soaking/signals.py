"""Long operations of the command and the library, interrupted at random moments."""

import tempfile

from soaking.processes import TRIALS, rows_of, table

COMMANDS = ("export", "validate", "benchmark", "bundle", "report")
CALLS = ("repair", "sensitivity", "prune_iteratively", "cache_teacher")
SLOW, FEWER = "quickstart", 6  # it takes much longer: so many times fewer moments


def measure(sizes):
    """Return a row for each operation and signal."""
    rows = _interrupt(sizes.moments, *COMMANDS, *CALLS)
    return rows + _interrupt(max(1, sizes.moments // FEWER), SLOW)


def _interrupt(times, *names):
    with tempfile.TemporaryDirectory() as folder:
        return rows_of(TRIALS / "interrupted_operations.py", folder, times, *names)


def text(rows):
    """Return the figures as Markdown."""
    return table(
        ["operation", "signal", "interrupted", "over before", "anything wrong"],
        [
            (
                row["operation"],
                row["signal"],
                row["interrupted"],
                row["too late"],
                len(row["problems"]),
            )
            for row in rows
        ],
    )


def failed(rows):
    """Return the rows that show a fault."""
    return [row for row in rows if row["problems"]]
