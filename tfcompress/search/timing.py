"""How long trials take, and how many epochs fit into what is left of the time."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence

from tfcompress.search.records import Trial
from tfcompress.search.space import Candidate

# How many trials the time should be enough for, whichever the model.
_MANY, _FEW = 7, 4
_ENOUGH_EPOCHS, _MOST_EPOCHS = 20, 60
CLOSING = 10.0  # seconds kept for what comes after the last trial


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the time is spent.

    Attributes:
        end: the moment, by ``now``, at which the search is over.
        epochs: epochs of a trial that is not cut short.
        epoch: seconds of an epoch of the original, as measured before the first trial.
        overhead: seconds of a trial beside its steps of training, likewise.
        now: the clock.
    """

    end: float
    epochs: int
    epoch: float
    overhead: float
    now: Callable[[], float] = time.monotonic

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.end - self.now()

    def seconds_of_epoch(self, candidate: Candidate, trials: Sequence[Trial]) -> float:
        """Estimate the seconds of an epoch: by trials with at most as few channels left."""
        known = [
            trial.training_seconds / trial.epochs
            for trial in trials
            if trial.epochs and trial.candidate.channels <= candidate.channels
        ]
        return min(known, default=self.epoch)

    def seconds_beside_training(self, trials: Sequence[Trial]) -> float:
        """Estimate the seconds of a trial beside its training: the most of any so far.

        Those that train nothing remove no channels either: until one has trained, the estimate from
        before counts too.
        """
        finished = [trial for trial in trials if trial.error is None]
        known = [trial.seconds - trial.training_seconds for trial in finished]
        if not any(trial.candidate.trained for trial in finished):
            known.append(self.overhead)
        return max(known)

    def affordable(self, candidate: Candidate, trials: Sequence[Trial]) -> int:
        """Return how many epochs of a candidate fit now, at most ``epochs``; 0 if none does."""
        rest = self.training_end(trials) - self.now()
        possible = math.floor(rest / self.seconds_of_epoch(candidate, trials))
        return max(min(possible, self.epochs), 0)

    def worth_starting(self, candidate: Candidate, trials: Sequence[Trial]) -> bool:
        """Tell whether a trial that begins now has a third of its epochs at least.

        One that is cut shorter says little about its candidate.
        """
        return self.affordable(candidate, trials) >= max(1, self.epochs / 3)

    def training_end(self, trials: Sequence[Trial]) -> float:
        """Return the moment at which training has to end, for the rest to be done in time."""
        return self.end - self.seconds_beside_training(trials) - CLOSING


def choose_epochs(time_budget: float, epoch: float, overhead: float) -> int:
    """Choose the epochs of a trial, so that a handful of trials fit.

    About seven trials fit; but fewer, four at least, where each would have less than 20 epochs.

    Args:
        time_budget: seconds of the whole search.
        epoch: seconds of an epoch.
        overhead: seconds of a trial beside its training.

    Returns:
        At least 1 and at most 60.

    Example:
    >>> choose_epochs(900, epoch=3.0, overhead=15.0), choose_epochs(900, epoch=9.0, overhead=15.0)
    (37, 20)
    """
    many, few = (math.floor((time_budget / trials - overhead) / epoch) for trials in (_MANY, _FEW))
    return min(max(many, min(few, _ENOUGH_EPOCHS), 1), _MOST_EPOCHS)
