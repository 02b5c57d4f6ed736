"""Which candidate comes next: first a schedule, by bisection, then local search from the best one.

A candidate is warm-started from the most compressed trial that it extends.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence

from tfcompress.search.candidates import Candidate, Space
from tfcompress.search.results import Budget, Trial, nearest

# Chosen so that few trials meet typical budgets: each level promises more than the one before.
_SCHEDULE = (
    Candidate(trained=False),
    Candidate(),
    Candidate(sparsity=0.5),
    Candidate(channels=0.25, sparsity=0.5),
    Candidate(channels=0.25, sparsity=0.7),
    Candidate(channels=0.5, sparsity=0.5),
    Candidate(channels=0.5, sparsity=0.7),
    Candidate(channels=0.625, sparsity=0.8),
    Candidate(channels=0.75, sparsity=0.9),
)
_STEPS = (2, 1)  # levels: the longer steps first
_MISSED = {
    "size": "is too large",
    "latency": "is too slow",
    "runs_on_target": "does not run on the target",
}


def choose(
    space: Space, budget: Budget, trials: Sequence[Trial], running: Sequence[Candidate]
) -> Candidate | None:
    """Choose the next candidate: from the schedule, or else a neighbor of the best trial."""
    meets = {trial.candidate: not budget.shortfalls(trial) for trial in trials}
    scheduled = next_scheduled(candidate_schedule(space), meets, running)
    return next_neighbor(space, trials, budget, running) if scheduled is None else scheduled


def candidate_schedule(space: Space) -> tuple[Candidate, ...]:
    """Return the schedule of a space, from the unchanged model in 8 bits to the strongest level."""
    return tuple(dict.fromkeys(space.restricted(candidate) for candidate in _SCHEDULE))


def next_scheduled(
    schedule: tuple[Candidate, ...],
    meets: Mapping[Candidate, bool],
    running: Collection[Candidate] = (),
) -> Candidate | None:
    """Choose the level of a schedule to try next: the weakest first, then by bisection.

    By bisection is an untried level between the strongest that meets the budget and the weakest
    beyond it that does not, as near to the middle as possible; None if there is no such level.

    Example:
    >>> a, b, c = schedule = candidate_schedule(Space(("sparsity",)))[:3]
    >>> next_scheduled(schedule, {}) == a, next_scheduled(schedule, {a: True}) == b
    (True, True)
    """
    taken = {*meets, *running}
    if schedule[0] not in taken:
        return schedule[0]
    met = [place for place, level in enumerate(schedule) if meets.get(level, False)]
    low = max(met, default=0)
    missed = [p for p, level in enumerate(schedule) if p > low and not meets.get(level, True)]
    high = min(missed, default=len(schedule))
    between = [place for place in range(low + 1, high) if schedule[place] not in taken]
    if not between:
        return None
    middle = (low + high) / 2
    return schedule[min(between, key=lambda place: abs(place - middle))]


def next_neighbor(
    space: Space, trials: Sequence[Trial], budget: Budget, running: Collection[Candidate] = ()
) -> Candidate | None:
    """Choose an untried neighbor of the best trial, or of the nearest if none meets the budget.

    From a trial that meets it, or is only too large or too slow, to stronger neighbors, the weakest
    first. From one that only lost too much accuracy to weaker ones, the strongest first. From one
    that misses both ways, one technique gets stronger and another one weaker. Steps of two levels
    come before those of one. A candidate that compresses at least as far by every technique as one
    that lost too much accuracy is not tried. Returns None if there is no such neighbor.
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
        neighbors = _neighbors(space, base.candidate, size, costly, lossy)
        untried = list(filter(worth_trying, neighbors))
        if untried:
            return min(untried, key=lambda n: abs(_gain(n) - _gain(base.candidate)))
    return None


def _neighbors(space, start, size, costly, lossy):
    """Return the candidates that a step of some levels leads to."""
    stronger, weaker = (
        [space.moved(start, name, steps) for name in space.techniques] for steps in (size, -size)
    )
    swaps = [
        space.moved(up, name, -size)
        for up, name in itertools.product(filter(None, stronger), space.techniques)
    ]
    if costly and lossy:
        return swaps
    if costly:
        return stronger + [swap for swap in swaps if swap and _gain(swap) > _gain(start)]
    return weaker + [swap for swap in swaps if swap and _gain(swap) < _gain(start)]


def _gain(candidate):
    return candidate.estimated_gain()


def warm_start(candidate: Candidate, trials: Sequence[Trial], budget: Budget) -> Trial | None:
    """Return the most compressed trained trial within a candidate that kept enough accuracy.

    None, for the original model, if there is none.
    """
    possible = [
        trial
        for trial in trials
        if trial.error is None
        and trial.candidate.trained
        and trial.candidate.within(candidate)
        and trial.accuracy_drop <= budget.max_accuracy_drop
    ]
    return max(possible, key=lambda trial: _gain(trial.candidate), default=None)


def reason(budget: Budget, trials: Sequence[Trial], candidate: Candidate) -> str:
    """Say in a few words why a candidate comes next, by the closest trials on either side of it."""
    finished = [trial for trial in trials if trial.error is None]
    if not finished:
        return "a first file, within seconds"
    gain = _gain(candidate)

    def gain_of(trial):
        return _gain(trial.candidate)

    lossy = {t.number: "accuracy_drop" in budget.shortfalls(t) for t in finished}
    weaker = (t for t in finished if gain_of(t) < gain and not lossy[t.number])
    stronger = (t for t in finished if gain_of(t) > gain and lossy[t.number])
    below, above = max(weaker, key=gain_of, default=None), min(stronger, key=gain_of, default=None)
    said = []
    if below is not None:
        missed = " and ".join(_MISSED[name] for name in budget.shortfalls(below))
        said.append(f"goes further than trial {below.number}, which {missed or 'holds'}")
    if above is not None:
        said.append(f"gentler than trial {above.number}, which lost too much {budget.metric}")
    if said:
        return ", ".join(said)
    if candidate.trained and not any(trial.candidate.trained for trial in finished):
        return "training may win back what trial 0 lost"
    return "untried so far"
