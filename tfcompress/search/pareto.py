"""Which trials are worth keeping: the front, the best within a budget, and the nearest to it."""

from collections.abc import Sequence

from tfcompress.search.budget import Budget
from tfcompress.search.records import Trial


def front(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """Return the trials that no other one beats in accuracy, gzipped size and speed-up at once.

    Args:
        trials: any; failed ones are left out.

    Returns:
        Those not dominated, in their order: another trial is at least as good in all three and
        better in one.
    """
    finished = [trial for trial in trials if trial.error is None]
    return tuple(
        trial for trial in finished if not any(_dominates(other, trial) for other in finished)
    )


def best(trials: Sequence[Trial], budget: Budget) -> Trial | None:
    """Return the trial within the budget with the greatest compression ratio x speed-up."""
    within = [trial for trial in trials if not budget.shortfalls(trial)]
    return max(within, key=lambda trial: trial.gain, default=None)


def nearest(trials: Sequence[Trial], budget: Budget) -> Trial | None:
    """Return the best trial, or else the one that misses the budget least; None without any."""
    finished = [trial for trial in trials if trial.error is None]
    return best(trials, budget) or min(finished, key=budget.distance, default=None)


def _dominates(one: Trial, other: Trial) -> bool:
    pairs = list(zip(_merits(one), _merits(other), strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _merits(trial: Trial) -> tuple[float, float, float]:
    return (-trial.accuracy_drop, -trial.gzip_size, trial.speed_up)
