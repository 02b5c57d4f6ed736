"""Trainings that are killed at random steps and resumed."""

import signal
import tempfile

import numpy as np

from soaking.processes import TRAININGS, TRIALS, rows_of, table

LAST_STEP = 24


def measure(sizes):
    """Return a row for each training."""
    return [_kill(technique, sizes.kills) for technique in TRAININGS]


def _kill(technique, times):
    generator = np.random.default_rng([TRAININGS.index(technique), 0])
    steps = sorted(int(step) for step in generator.integers(1, LAST_STEP, times))
    with tempfile.TemporaryDirectory() as folder:
        # One process forks before each training: the import is paid once.
        results = rows_of(TRIALS / "killed_training.py", technique, folder, *steps)
    different = [r for r in results if not r["equal"] or r["signal"] != signal.SIGKILL]
    return {"technique": technique, "kills": len(results), "different": different}


def text(rows):
    """Return the figures as Markdown."""
    return table(
        ["training", "kills", "resumed, but not bit for bit"],
        [(row["technique"], row["kills"], len(row["different"])) for row in rows],
    )


def failed(rows):
    """Return the rows that show a fault."""
    return [row for row in rows if row["different"]]
