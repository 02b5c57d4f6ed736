"""A worker on a study whose trials only sleep: python study_worker.py DIRECTORY STORAGE SECONDS."""

import functools
import pathlib
import sys
import time

from made_trials import made

from tfcompress.search.candidates import Space
from tfcompress.search.results import Budget
from tfcompress.search.strategy import choose
from tfcompress.search.study import (
    StrategySampler,
    finished_trials,
    open_study,
    run_next,
    running_candidates,
)

SPACE = Space(("channels", "sparsity"))
BUDGET = Budget()
HEARTBEAT = 1
TRIALS = 8


def study_in(directory, storage):
    """Open the study that the workers share."""
    sampler = StrategySampler(SPACE, functools.partial(choose, SPACE, BUDGET), 0)
    return open_study(directory, storage, "test", sampler, HEARTBEAT)


def measured(number, candidate):
    """Pretend to measure: what is hard to bear shows in the accuracy."""
    gain = candidate.estimated_gain()
    return made(number, 0.9 if gain < 2 else 0.8, 200 / (1 + gain), candidate=candidate)


def main(directory, storage, seconds):
    directory = pathlib.Path(directory)
    study = study_in(directory, storage or None)

    def work(number, candidate):
        (directory / f"begun-{number}").touch()
        time.sleep(float(seconds))
        return measured(number, candidate)

    # Goes on as long as another worker seems to be at a trial: a dead one's comes back.
    while len(finished_trials(study)) < TRIALS or running_candidates(study):
        run_next(study, SPACE, work)


if __name__ == "__main__":
    main(*sys.argv[1:])
