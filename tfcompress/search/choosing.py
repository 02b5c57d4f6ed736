"""Which candidate comes next."""

from collections.abc import Sequence

from tfcompress.search.budget import Budget
from tfcompress.search.ladder import next_rung, rungs
from tfcompress.search.records import Trial
from tfcompress.search.space import Candidate, Space
from tfcompress.search.walk import next_step


def choose(
    space: Space, budget: Budget, trials: Sequence[Trial], running: Sequence[Candidate]
) -> Candidate | None:
    """Choose the next candidate: a rung of the ladder, or else a step along the front."""
    holds = {trial.candidate: not budget.shortfalls(trial) for trial in trials}
    rung = next_rung(rungs(space), holds, running)
    return next_step(space, trials, budget, running) if rung is None else rung
