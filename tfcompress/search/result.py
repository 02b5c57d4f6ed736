"""What a search has found: the best file within the budget, or the nearest to it."""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import keras

from tfcompress.atomic_files import write_atomically
from tfcompress.search.budget import Budget
from tfcompress.search.pareto import best, front, nearest
from tfcompress.search.records import Reference, Trial

RESULT = "result.json"
BEST_FILE, BEST_WEIGHTS = "best.tflite", "best.keras"
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search has found.

    Attributes:
        directory: where everything is.
        name: the model's name.
        target: the device, or None.
        budget: the limits.
        time_budget: seconds that the search was given.
        reference: the float file of the model as it was given.
        trials: all trials, in order.
        environment: versions.
    """

    directory: pathlib.Path
    name: str
    target: str | None
    budget: Budget
    time_budget: float
    reference: Reference
    trials: tuple[Trial, ...]
    environment: dict[str, str]

    @property
    def met(self) -> bool:
        """Whether a trial holds the budget."""
        return self.best is not None

    @functools.cached_property
    def best(self) -> Trial | None:
        """The trial within the budget with the greatest compression ratio x speed-up."""
        return best(self.trials, self.budget)

    @functools.cached_property
    def nearest(self) -> Trial | None:
        """The best trial; where the budget is not met, the one that misses it least.

        None as long as no trial has ended well.
        """
        return nearest(self.trials, self.budget)

    @property
    def path(self) -> pathlib.Path:
        """The file of the nearest trial."""
        return self.directory / self.nearest.files["file"]

    @functools.cached_property
    def model(self) -> keras.Model:
        """The quantization-aware model that the file was made of."""
        return keras.saving.load_model(
            self.directory / self.nearest.files["weights"], compile=False
        )

    @property
    def report(self) -> dict[str, Any]:
        """The evidence for the file, as ``ExportReport.to_json`` returns it."""
        text = (self.directory / self.nearest.files["evidence"]).read_text(encoding="utf-8")
        return json.loads(text)

    @property
    def shortfalls(self) -> dict[str, float]:
        """By how much the nearest trial misses the budget; empty if it holds."""
        return self.budget.shortfalls(self.nearest)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data, as ``result.json`` holds it."""
        numbers = [trial.number for trial in front(self.trials)]
        return {
            "format": _FORMAT,
            "model": self.name,
            "target": self.target,
            "budget": self.budget.to_json(),
            "time_budget": self.time_budget,
            "met": self.met,
            "best": None if self.best is None else self.best.number,
            "nearest": self.nearest.number,
            "front": numbers,
            "shortfalls": self.shortfalls,
            "reference": dataclasses.asdict(self.reference),
            "trials": [
                {
                    **trial.to_json(),
                    "shortfalls": self.budget.shortfalls(trial),
                    "on_front": trial.number in numbers,
                }
                for trial in self.trials
            ],
            "environment": self.environment,
        }

    def to_text(self) -> str:
        """Return the trials as a table, and what they come to in sentences."""
        lines = [
            f"{'trial':>5}  {'accuracy':>8}  {'gzipped':>10}  {'ratio':>6}  {'ms':>8}  speed-up"
        ]
        reference = self.reference
        lines.append(
            f"{'float':>5}  {reference.accuracy:>8.2%}  {reference.gzip_size:>10,}  {'1.0x':>6}  "
            f"{1000 * reference.latency:>8.3f}      1.0x"
        )
        lines += [_row(trial) for trial in self.trials]
        return "\n".join([*lines, self.verdict()])

    def verdict(self) -> str:
        """Say plainly whether the budget is met, and by what."""
        trial = self.nearest
        found = (
            f"trial {trial.number}, {trial.compression_ratio:.1f}x smaller (gzip), "
            f"{trial.speed_up:.1f}x faster, accuracy {trial.accuracy:.2%} against "
            f"{self.reference.accuracy:.2%} of the float file"
        )
        if self.met:
            return f"The budget is met by {found}: {self.path}"
        missed = ", ".join(_missed(name, value) for name, value in self.shortfalls.items())
        return f"The budget is not met. Nearest is {found}; it {missed}: {self.path}"


def save(result: SearchResult) -> None:
    """Write ``result.json``, and the best file and model under names that stay the same."""
    files = result.nearest.files
    for kind, name in (("weights", BEST_WEIGHTS), ("file", BEST_FILE)):
        write_atomically(result.directory / name, (result.directory / files[kind]).read_bytes())
    text = json.dumps(result.to_json(), indent=1) + "\n"
    write_atomically(result.directory / RESULT, text.encode())


def _row(trial: Trial) -> str:
    if trial.error is not None:
        return f"{trial.number:>5}  failed: {trial.candidate.to_text()}: {trial.error}"
    return (
        f"{trial.number:>5}  {trial.accuracy:>8.2%}  {trial.gzip_size:>10,}  "
        f"{trial.compression_ratio:>5.1f}x  {1000 * trial.latency:>8.3f}  "
        f"{trial.speed_up:>7.1f}x  {trial.candidate.to_text()}"
    )


def _missed(name: str, value: float) -> str:
    return {
        "accuracy_drop": f"loses {100 * value:.2f} points more than allowed",
        "size": f"is {value:,.0f} bytes too large",
        "latency": f"is {1000 * value:.3f} ms too slow",
        "runs_on_target": "does not run on the target",
    }[name]
