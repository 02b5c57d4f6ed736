"""A worker: runs trials of a study until the time is up, and saves the best of all workers."""

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
from tfcompress.search.candidates import Candidate, Space
from tfcompress.search.results import Budget, SearchResult, Trial, nearest
from tfcompress.search.strategy import reason, warm_start
from tfcompress.search.study import LostTrialError, finished_trials, run_next, running_candidates
from tfcompress.search.time_budget import Plan
from tfcompress.search.trial_runner import TrialRunner, one_at_a_time
from tfcompress.targets.vela import CompilerError

# Errors of a single candidate: others may still work.
_REFUSALS = (
    CompilerError,
    ConversionError,
    FloatOperationError,
    RunError,
    tf.errors.ResourceExhaustedError,
)


@dataclasses.dataclass(frozen=True)
class Worker:
    """Runs trials of a study that all workers share, and shows progress on a console."""

    runner: TrialRunner
    study: optuna.Study
    space: Space
    budget: Budget
    time_budget: float
    name: str
    console: Console

    def run_first(self, deadline: float) -> None:
        """Run the first candidate, which trains nothing, unless a worker has begun before."""
        if finished_trials(self.study) or running_candidates(self.study):
            return
        self._run(lambda number, candidate: self.runner.run(number, candidate, 1, deadline))

    def run_until_end(self, plan: Plan, max_trials: int | None = None) -> None:
        """Run trials until the time is up, or all workers together have run ``max_trials``."""

        def work(number: int, candidate: Candidate) -> Trial:
            trials = finished_trials(self.study)
            epochs = max(1, plan.affordable(candidate, trials))
            parent = warm_start(candidate, trials, self.budget)
            try:
                return self.runner.run(number, candidate, epochs, plan.training_end(trials), parent)
            except _REFUSALS as error:
                return Trial(number, candidate, error=" ".join(str(error).split()))

        while True:
            trials = finished_trials(self.study)
            full = max_trials is not None and len(trials) >= max_trials
            # The next candidate probably takes as long as the nearest.
            found = nearest(trials, self.budget)
            typical = Candidate() if found is None else found.candidate
            if full or not plan.worth_starting(typical, trials):
                return
            self._run(work)

    def result(self) -> SearchResult:
        """Return what all workers have found so far."""
        return SearchResult(
            directory=self.runner.directory,
            name=self.name,
            target=self.runner.target,
            budget=self.budget,
            time_budget=self.time_budget,
            reference=self.runner.reference,
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
        with one_at_a_time(self.runner.directory):
            result = self.result()
            if result.nearest is not None:
                result.save()

    def _line(self, trial: Trial) -> str:
        head = f"trial {trial.number}: {self.runner.reference.tried(trial)}"
        if trial.error is not None:
            return f"{head}: failed: {trial.error}"
        missed, reference = self.budget.shortfalls(trial), self.runner.reference
        return (
            f"{head}: {trial.compression_ratio:.1f}x smaller, {trial.speed_up:.1f}x faster, "
            f"{reference.metric} {reference.text_of(trial.accuracy)} "
            f"({reference.change_of(trial.accuracy_drop)}), "
            f"{trial.epochs} epoch{'s' * (trial.epochs != 1)}, {trial.seconds:.0f} s: "
            + (f"misses {', '.join(missed)}" if missed else "within the budget")
        )


def require_shared(directory: pathlib.Path, trials: Sequence[Trial]) -> None:
    """Check that the files of all trials are in the directory, also those of other machines."""
    for trial in trials:
        file = trial.files["file"]
        if file is not None and not (directory / file).exists():
            raise ValueError(
                "All workers on a study must use the same directory; on several machines, a "
                f"network folder. Received: directory={str(directory)!r}, which lacks {file}"
            )
