"""Trainings of two workers, one of which is killed at a random step: both start again."""

import pathlib
import signal
import sys
import tempfile

import numpy as np

from soaking.killed_trainings import LAST_STEP
from soaking.processes import TRAININGS, TRIALS, table

FEWER = 4  # a training of two workers takes longer: so many times fewer kills


def measure(sizes):
    """Return a row for each training."""
    return [_kill(technique, max(1, sizes.kills // FEWER)) for technique in TRAININGS]


def _kill(technique, times):
    sys.path[:0] = [str(TRIALS), str(TRIALS.parent)]
    from worker_plans import end_of, planned, run_plan

    generator = np.random.default_rng([TRAININGS.index(technique), 1])
    steps = sorted(int(step) for step in generator.integers(1, LAST_STEP, times))
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        plan = [planned(technique, folder / "whole")]
        for number, step in enumerate(steps):
            plan.append(planned(technique, folder / str(number), kill_at=step))
            plan.append(planned(technique, folder / str(number)))
        codes = run_plan(plan, folder)
        expected = [end_of(folder / "whole", index) for index in range(2)]
        different = [] if codes[0] == (0, 0) else [{"step": None, "codes": codes[0]}]
        for number, step in enumerate(steps):
            killed, resumed = codes[1 + 2 * number : 3 + 2 * number]
            equal = killed[1] == -signal.SIGKILL and resumed == (0, 0)
            for index, whole in enumerate(expected):
                found = end_of(folder / str(number), index) if equal else []
                equal &= len(found) == len(whole) and all(map(np.array_equal, found, whole))
            if not equal:
                different.append({"step": step, "codes": [killed, resumed]})
        apart = [
            number
            for number, (one, other) in enumerate(zip(*expected, strict=True))
            if number and not np.array_equal(one, other)  # the first is the worker's own loss
        ]
    return {"technique": technique, "kills": times, "different": different, "apart": apart}


def text(rows):
    """Return the figures as Markdown."""
    return table(
        [
            "training",
            "kills",
            "resumed, but not bit for bit",
            "weights that differ between workers",
        ],
        [(r["technique"], r["kills"], len(r["different"]), len(r["apart"])) for r in rows],
    )


def failed(rows):
    """Return the rows that show a fault."""
    return [row for row in rows if row["different"] or row["apart"]]
