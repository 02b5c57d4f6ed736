"""After the ladder: steps from the best trial along the Pareto front."""

import itertools
from collections.abc import Collection, Sequence

from tfcompress.search.budget import Budget
from tfcompress.search.pareto import nearest
from tfcompress.search.records import Trial
from tfcompress.search.space import Candidate, Space


def next_step(
    space: Space, trials: Sequence[Trial], budget: Budget, running: Collection[Candidate] = ()
) -> Candidate | None:
    """Choose an untried neighbour of the best trial, or of the nearest where none holds.

    From a trial that holds, or that is only too large or too slow, the way leads to harder
    neighbours, the gentlest of them first. From one that only lost too much accuracy it leads to
    gentler ones, the hardest first. From one that misses both ways, one technique goes a level up
    and another one down. Whatever goes at least as far by every technique as a candidate that lost
    too much accuracy is left out.

    Args:
        space: the candidates.
        trials: what was tried.
        budget: the limits.
        running: candidates that other workers are at.

    Returns:
        The candidate; None where there is no such neighbour.
    """
    base = nearest(trials, budget)
    if base is None:
        return None
    missed = budget.shortfalls(base)
    lossy = "accuracy_drop" in missed
    costly = not lossy or len(missed) > 1
    taken = {*(trial.candidate for trial in trials), *running}
    hopeless = [
        trial.candidate
        for trial in trials
        if trial.candidate.trained and "accuracy_drop" in budget.shortfalls(trial)
    ]

    def worth_trying(candidate):
        return (
            candidate is not None
            and candidate not in taken
            and not any(lost.within(candidate) for lost in hopeless)
        )

    start = base.candidate
    harder, gentler = (
        [space.moved(start, name, steps) for name in space.techniques] for steps in (1, -1)
    )
    swaps = [
        space.moved(up, name, -1)
        for up, name in itertools.product(filter(None, harder), space.techniques)
    ]
    if costly and lossy:
        neighbours = swaps
    elif costly:
        neighbours = harder + [s for s in swaps if s and _gain(s) > _gain(start)]
    else:
        neighbours = gentler + [s for s in swaps if s and _gain(s) < _gain(start)]
    open_ones = filter(worth_trying, neighbours)
    return min(open_ones, key=lambda n: abs(_gain(n) - _gain(start)), default=None)


def _gain(candidate):
    return candidate.estimated_gain()
