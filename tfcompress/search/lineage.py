"""Which trial a candidate is made of: training adds up along a line of harder and harder ones."""

from collections.abc import Sequence

from tfcompress.search.budget import Budget
from tfcompress.search.records import Trial
from tfcompress.search.space import Candidate


def parent_of(candidate: Candidate, trials: Sequence[Trial], budget: Budget) -> Trial | None:
    """Choose the trial whose model a candidate goes on from.

    Args:
        candidate: what is to be made.
        trials: what was tried.
        budget: says how much accuracy a parent may have lost.

    Returns:
        The hardest of the trained trials that go at most as far by every technique and whose
        accuracy holds; None, for the original, where there is none.
    """
    able = [
        trial
        for trial in trials
        if trial.error is None
        and trial.candidate.trained
        and trial.candidate.within(candidate)
        and trial.accuracy_drop <= budget.max_accuracy_drop
    ]
    return max(able, key=lambda trial: trial.candidate.estimated_gain(), default=None)
