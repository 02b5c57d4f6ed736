"""Long operations of the command and the library, ended by signals at random moments."""

import signal
import tempfile

from soaking.processes import TRIALS, rows_of, table

COMMANDS = ("export", "validate", "benchmark", "bundle", "report")
SLOW = "quickstart"
SLOW_SHARE = 4  # a quickstart takes much longer: so many times fewer moments
CALLS = ("repair", "sensitivity", "prune_iteratively", "cache_teacher")
WRITING = ("export", "bundle", "report", "sensitivity", "prune_iteratively", "cache_teacher")


def measure(sizes):
    """Return a row for each operation and signal."""
    rows = _in("interrupted_operations.py", sizes.moments, *COMMANDS, *CALLS)
    rows += _in("interrupted_operations.py", max(1, sizes.moments // SLOW_SHARE), SLOW)
    kills = max(1, sizes.moments // SLOW_SHARE)
    rows += _in("killed_operations.py", kills, int(signal.SIGKILL), *WRITING)
    rows += _in("killed_operations.py", kills, int(signal.SIGTERM), *CALLS[1:])
    return rows


def _in(script, *arguments):
    with tempfile.TemporaryDirectory() as folder:
        return rows_of(TRIALS / script, folder, *arguments)


def text(rows):
    """Return the figures as Markdown."""
    return table(
        ["operation", "signal", "ended by it", "over before", "drafts left", "anything wrong"],
        [
            (
                row["operation"],
                row["signal"],
                row.get("interrupted", row.get("killed")),
                row["too late"],
                row.get("drafts", 0),
                len(row["problems"]),
            )
            for row in rows
        ],
    )


def failed(rows):
    """Return the rows that show a fault."""
    return [row for row in rows if row["problems"]]
