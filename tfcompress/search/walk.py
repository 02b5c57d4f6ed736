"""After the ladder: steps from the best trial along the Pareto front."""

import itertools
from collections.abc import Collection, Sequence

from tfcompress.search.budget import Budget
from tfcompress.search.pareto import nearest
from tfcompress.search.records import Trial
from tfcompress.search.space import Candidate, Space

_STEPS = (2, 1)  # levels: the longer steps first


def next_step(
    space: Space, trials: Sequence[Trial], budget: Budget, running: Collection[Candidate] = ()
) -> Candidate | None:
    """Choose an untried neighbour of the best trial, or of the nearest where none holds.

    From a trial that holds, or that is only too large or too slow, the way leads to harder
    neighbours, the gentlest of them first. From one that only lost too much accuracy it leads to
    gentler ones, the hardest first. From one that misses both ways, one technique goes up and
    another one down. Steps of two levels come before those of one. Whatever goes at least as far by
    every technique as a candidate that lost too much accuracy is left out.

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

    for size in _STEPS:
        neighbours = _neighbours(space, base.candidate, size, costly, lossy)
        open_ones = list(filter(worth_trying, neighbours))
        if open_ones:
            return min(open_ones, key=lambda n: abs(_gain(n) - _gain(base.candidate)))
    return None


def _neighbours(space, start, size, costly, lossy):
    """Return the candidates that a step of some levels leads to."""
    harder, gentler = (
        [space.moved(start, name, steps) for name in space.techniques] for steps in (size, -size)
    )
    swaps = [
        space.moved(up, name, -size)
        for up, name in itertools.product(filter(None, harder), space.techniques)
    ]
    if costly and lossy:
        return swaps
    if costly:
        return harder + [swap for swap in swaps if swap and _gain(swap) > _gain(start)]
    return gentler + [swap for swap in swaps if swap and _gain(swap) < _gain(start)]


def _gain(candidate):
    return candidate.estimated_gain()
