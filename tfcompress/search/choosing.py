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


def reason(budget: Budget, trials: Sequence[Trial], candidate: Candidate) -> str:
    """Say why a candidate comes next.

    Args:
        budget: the limits.
        trials: what was tried before.
        candidate: what ``choose`` chose.

    Returns:
        A few words: it goes further than the hardest trial that holds, and less far than the
        gentlest that lost too much.
    """
    finished = [trial for trial in trials if trial.error is None]
    if not finished:
        return "a first file, within seconds"
    gain = candidate.estimated_gain()

    def gain_of(trial):
        return trial.candidate.estimated_gain()

    short = {trial.number: budget.shortfalls(trial) for trial in finished}
    below = [trial for trial in finished if "accuracy_drop" not in short[trial.number]]
    below = max((t for t in below if gain_of(t) < gain), key=gain_of, default=None)
    above = [trial for trial in finished if "accuracy_drop" in short[trial.number]]
    above = min((t for t in above if gain_of(t) > gain), key=gain_of, default=None)
    said = []
    if below is not None:
        missed = " and ".join(_MISSED[name] for name in short[below.number])
        said.append(f"goes further than trial {below.number}, which {missed or 'holds'}")
    if above is not None:
        said.append(f"gentler than trial {above.number}, which lost too much {budget.metric}")
    if said:
        return ", ".join(said)
    if candidate.trained and not any(trial.candidate.trained for trial in finished):
        return "training may win back what trial 0 lost"
    return "untried so far"


_MISSED = {
    "size": "is too large",
    "latency": "is too slow",
    "runs_on_target": "does not run on the target",
}
