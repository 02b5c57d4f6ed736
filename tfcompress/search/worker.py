"""A worker: runs trials of a study until the time is up, and keeps the best of all workers."""

import dataclasses
import pathlib
import platform
from collections.abc import Callable, Sequence

import keras
import optuna
import tensorflow as tf
from rich.console import Console

import tfcompress
from exporters import RunError
from exporters.converting import FloatOperationError
from tfcompress.quantization.float_file import ConversionError
from tfcompress.search.budget import Budget
from tfcompress.search.choosing import reason
from tfcompress.search.lineage import parent_of
from tfcompress.search.one_trial import Workshop
from tfcompress.search.pareto import nearest
from tfcompress.search.records import Trial
from tfcompress.search.reference import one_at_a_time
from tfcompress.search.result import SearchResult, save
from tfcompress.search.space import Candidate, Space
from tfcompress.search.store import LostTrialError, finished_trials, run_next, running_candidates
from tfcompress.search.timing import Plan

# What a candidate may fail by, while others work.
_REFUSALS = (ConversionError, FloatOperationError, RunError, tf.errors.ResourceExhaustedError)


@dataclasses.dataclass(frozen=True)
class Worker:
    """Runs trials.

    Attributes:
        workshop: makes and measures candidates.
        study: what all workers share.
        space: the candidates.
        budget: the limits.
        time_budget: seconds that the search was given.
        name: the model's name.
        console: where progress is shown.
    """

    workshop: Workshop
    study: optuna.Study
    space: Space
    budget: Budget
    time_budget: float
    name: str
    console: Console

    def run_first(self, deadline: float) -> None:
        """Run the gentlest rung, which trains nothing, unless a worker has begun before."""
        if finished_trials(self.study) or running_candidates(self.study):
            return
        self._run(lambda number, candidate: self.workshop.run(number, candidate, 1, deadline))

    def run_until_end(self, plan: Plan, max_trials: int | None = None) -> None:
        """Run trials until the time is up, or all workers together have run so many.

        Args:
            plan: how the time is spent.
            max_trials: trials of the study at most.
        """

        def work(number: int, candidate: Candidate) -> Trial:
            trials = finished_trials(self.study)
            epochs = max(1, plan.affordable(candidate, trials))
            parent = parent_of(candidate, trials, self.budget)
            try:
                return self.workshop.run(
                    number, candidate, epochs, plan.training_end(trials), parent
                )
            except _REFUSALS as error:
                return Trial(number, candidate, error=" ".join(str(error).split()))

        while True:
            trials = finished_trials(self.study)
            full = max_trials is not None and len(trials) >= max_trials
            if full or not plan.worth_starting(self._hardest(trials), trials):
                return
            self._run(work)

    def result(self) -> SearchResult:
        """Return what all workers have found so far."""
        return SearchResult(
            directory=self.workshop.directory,
            name=self.name,
            target=self.workshop.target,
            budget=self.budget,
            time_budget=self.time_budget,
            reference=self.workshop.reference,
            trials=finished_trials(self.study),
            environment={
                "python": platform.python_version(),
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                "tfcompress": tfcompress.__version__,
                "optuna": optuna.__version__,
            },
        )

    def say(self, text: str) -> None:
        """Show a line of progress."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def _run(self, work: Callable[[int, Candidate], Trial]) -> None:
        def shown(number: int, candidate: Candidate) -> Trial:
            why = reason(self.budget, finished_trials(self.study), candidate)
            self.say(f"trial {number} begins: {candidate.to_text()}; {why}")
            with self.console.status(f"trial {number}: {candidate.to_text()}"):
                trial = work(number, candidate)
            self.say(self._line(trial))
            return trial

        try:
            run_next(self.study, self.space, shown)
        except LostTrialError as error:
            self.say(str(error))
        with one_at_a_time(self.workshop.directory):
            result = self.result()
            if result.nearest is not None:
                save(result)

    def _line(self, trial: Trial) -> str:
        head = f"trial {trial.number}: {trial.candidate.to_text()}"
        if trial.error is not None:
            return f"{head}: failed: {trial.error}"
        missed, reference = self.budget.shortfalls(trial), self.workshop.reference
        return (
            f"{head}: {trial.compression_ratio:.1f}x smaller, {trial.speed_up:.1f}x faster, "
            f"{reference.metric} {reference.text_of(trial.accuracy)} "
            f"({reference.change_of(trial.accuracy_drop)}), "
            f"{trial.epochs} epochs, {trial.seconds:.0f} s: "
            + (f"misses {', '.join(missed)}" if missed else "within the budget")
        )

    def _hardest(self, trials: Sequence[Trial]) -> Candidate:
        """Return the nearest trial's candidate: the next one is likely to take as long."""
        found = nearest(trials, self.budget)
        return Candidate() if found is None else found.candidate


def require_shared(directory: pathlib.Path, trials: Sequence[Trial]) -> None:
    """Check that the files of a study's trials are in a directory.

    Raises:
        ValueError: a trial has none there: another machine keeps them elsewhere.
    """
    for trial in trials:
        file = trial.files["file"]
        if file is not None and not (directory / file).exists():
            raise ValueError(
                "Workers on one study share its directory, by a network folder if they are on "
                f"several machines. Received: directory={str(directory)!r}, which lacks {file}"
            )
