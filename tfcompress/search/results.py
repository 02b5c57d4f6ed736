"""What a search measures and finds: its budget, its trials, the Pareto front, the best file."""

import dataclasses
import functools
import json
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfcompress.atomic_files import write_atomically
from tfcompress.search.candidates import Candidate

_RESULT = "result.json"
_FILES = {
    "file": "model.tflite",
    "weights": "model.keras",
    "history": "history.json",
    "evidence": "evidence.json",
}
_BEST = {"weights": "best.keras", "file": "best.tflite"}
_FORMAT = 1
_POINT = 0.01
ACCURACY = "accuracy"


@dataclasses.dataclass(frozen=True)
class Reference:
    """The float file of the model as it was passed."""

    file: str  # its path, relative to the search's directory
    # Share of the validation examples that it classifies right, in the interpreter; or the value of
    # the search's own metric.
    accuracy: float
    size: int  # bytes
    gzip_size: int  # bytes after gzip
    # Median seconds of a run; for a target with a compiler, what that says of the model in 8 bits.
    latency: float
    parameters: int  # weights of the model
    # Multiply-accumulate operations of one example; None where they cannot be counted.
    macs: int | None
    bare_size: int  # bytes after gzip of the file without any weights: no compression goes below
    metric: str = ACCURACY  # what accuracy is
    lower_is_better: bool = False  # whether less of it is better
    flash: int | None = None  # bytes of the model in 8 bits, as the target's compiler encodes it

    @property
    def stored(self) -> int:
        """The bytes that a search reduces: of flash where a compiler counts them, else gzipped."""
        return self.gzip_size if self.flash is None else self.flash

    def drop_to(self, value: float) -> float:
        """Return how much worse a value of the metric is; negative where it is better."""
        return value - self.accuracy if self.lower_is_better else self.accuracy - value

    def text_of(self, value: float) -> str:
        """Write a value of the metric: accuracy in percent."""
        return f"{value:.2%}" if self.metric == ACCURACY else f"{value:.5g}"

    def tried(self, trial: "Trial") -> str:
        """Say how far a trial compressed the model, and what it could not do."""
        asked = trial.candidate
        if not asked.channels or trial.parameters != self.parameters:
            return asked.to_text()
        return f"{dataclasses.replace(asked, channels=0.0).to_text()} (no channel can be removed)"

    def change_of(self, drop: float) -> str:
        """Write how the metric has changed: accuracy in points."""
        if self.metric == ACCURACY:
            return f"{-100 * drop:+.2f} points"
        return f"{drop if self.lower_is_better else -drop:+.4g}"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One candidate, trained, exported and measured; or the reason why it could not be."""

    number: int  # its number in the study
    candidate: Candidate  # how far the model is compressed
    # Why it failed; None if it did not. Then all of the following are measured.
    error: str | None = None
    # The number of the trial that it was warm-started from; None for the original.
    parent: int | None = None
    epochs: int | None = None  # epochs of fine-tuning, in this trial
    seconds: float | None = None  # how long the whole trial took
    training_seconds: float | None = None  # how long its training took
    accuracy: float | None = None  # of the file, as that of the reference
    accuracy_drop: float | None = None  # how much worse that is than the reference's
    size: int | None = None  # bytes of the file
    gzip_size: int | None = None  # bytes after gzip
    compression_ratio: float | None = None  # the reference's stored bytes divided by this one's
    latency: float | None = None  # median seconds of a run, or those that the compiler says
    reference_latency: float | None = None  # that of the reference, measured in turns with it
    parameters: int | None = None  # weights of the model
    # Multiply-accumulate operations of one example; None where they cannot be counted.
    macs: int | None = None
    zeros: float | None = None  # the share of zeros among the weights of kernels
    runs_on_target: bool | None = None  # whether the target runs the file; true without a target
    flash: int | None = None  # bytes as the target's compiler encodes it; None without one
    cycles: int | None = None  # of one inference, by that compiler

    @property
    def stored(self) -> int | None:
        """The bytes that a search reduces: of flash where a compiler counts them, else gzipped."""
        return self.gzip_size if self.flash is None else self.flash

    @property
    def speed_up(self) -> float | None:
        """The reference's latency divided by this one."""
        return None if self.error is not None else self.reference_latency / self.latency

    @property
    def gain(self) -> float:
        """The logarithm of compression ratio x speed-up: what a search maximizes."""
        if self.error is not None:
            return -math.inf
        return math.log(self.compression_ratio * self.speed_up)

    @property
    def files(self) -> dict[str, str | None]:
        """The paths of the trial's files, relative to the search's directory."""
        if self.error is not None:
            return dict.fromkeys(_FILES)
        return {kind: f"trials/{self.number}/{name}" for kind, name in _FILES.items()}

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            **dataclasses.asdict(self),
            "state": "finished" if self.error is None else "failed",
            "speed_up": self.speed_up,
            **self.files,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Trial":
        """Rebuild a trial from what ``to_json`` returned."""
        known = {field.name for field in dataclasses.fields(cls)}
        values = {name: value for name, value in content.items() if name in known}
        return cls(**{**values, "candidate": Candidate(**content["candidate"])})


@dataclasses.dataclass(frozen=True)
class Budget:
    """Limits of what a file may cost against the float file; None for no limit."""

    max_accuracy_drop: float = 0.01  # the largest loss of accuracy, a share: 0.01 is one point
    max_size: int | None = None  # the most bytes of the gzipped file, or of flash
    max_latency: float | None = None  # the most seconds of a run, here or on the target
    metric: str = ACCURACY  # what stands in its place; the drop is in its unit

    def __post_init__(self):
        top, meaning = 1, "must be a share of the examples in [0, 1), such as 0.01 for one point"
        if self.metric != ACCURACY:
            top = math.inf
            meaning = f"says how much worse {self.metric} may get, in its own unit, from 0"
        if not 0 <= self.max_accuracy_drop < top:
            raise ValueError(
                f"`max_accuracy_drop` {meaning}. "
                f"Received: max_accuracy_drop={self.max_accuracy_drop!r}"
            )
        for name, unit in (("max_size", "bytes"), ("max_latency", "seconds")):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise ValueError(
                    f"`{name}` must be a positive number of {unit}. Received: {name}={limit!r}"
                )

    def to_text(self) -> str:
        """Say what is allowed."""
        drop = f"{self.metric} at most {self.max_accuracy_drop:g} worse"
        if self.metric == ACCURACY:
            points = 100 * self.max_accuracy_drop
            drop = f"at most {points:g} point{'s' * (points != 1)} of accuracy lost"
        size, latency = self.max_size, self.max_latency
        more = [] if size is None else [f"{size:,} bytes"]
        more += [] if latency is None else [f"{1000 * latency:g} ms"]
        return ", ".join([drop, *more])

    def require_possible(self, reference: Reference) -> None:
        """Check the limits against what no compression of a model goes below."""
        if self.max_size is not None and self.max_size <= reference.bare_size:
            raise ValueError(
                "`max_size` cannot be met: the operations of this model alone, without any "
                f"weights, take {reference.bare_size:,} bytes after gzip. "
                f"Received: max_size={self.max_size!r}"
            )

    def shortfalls(self, trial: Trial) -> dict[str, float]:
        """Return by how much a trial misses each limit, in its unit; empty if it meets them.

        A file that the target does not run misses ``runs_on_target`` by 1.
        """
        if trial.error is not None:
            return {"failed": 1.0}
        excess = {"accuracy_drop": trial.accuracy_drop - self.max_accuracy_drop}
        if self.max_size is not None:
            excess["size"] = trial.stored - self.max_size
        if self.max_latency is not None:
            excess["latency"] = trial.latency - self.max_latency
        if not trial.runs_on_target:
            excess["runs_on_target"] = 1.0
        # One example more or less must not depend on how a quotient is rounded.
        return {name: value for name, value in excess.items() if value > 1e-9}

    def distance(self, trial: Trial) -> float:
        """Return how far a trial is from the budget: the sum of shortfalls, each by its scale.

        A point of accuracy, or what another metric may get worse, counts as much as a twentieth of
        the permitted size or latency; a file that the target does not run is far from any that it
        runs.
        """
        point = _POINT if self.metric == ACCURACY else self.max_accuracy_drop or _POINT
        scales = {
            "accuracy_drop": point,
            "size": (self.max_size or 1) / 20,
            "latency": (self.max_latency or 1) / 20,
            "runs_on_target": 1e-6,
            "failed": 1e-9,
        }
        return sum(value / scales[name] for name, value in self.shortfalls(trial).items())

    def to_json(self) -> dict[str, Any]:
        """Return the limits as plain data."""
        limits = dataclasses.asdict(self)
        del limits["metric"]  # the reference has it
        return limits


def make_budget(
    metric: str,
    max_accuracy_drop: float | None,
    max_size: int | None = None,
    max_latency: float | None = None,
) -> Budget:
    """Make a budget; accuracy may drop by a point where nothing is said."""
    if max_accuracy_drop is None:
        if metric != ACCURACY:
            raise ValueError(
                f"Say how much worse {metric} may get, in its own unit: `max_accuracy_drop`. "
                "Received: max_accuracy_drop=None"
            )
        max_accuracy_drop = _POINT
    return Budget(max_accuracy_drop, max_size, max_latency, metric)


def require_positive(**values: float | None) -> None:
    """Check that counts, seconds and rates are above 0; None stands for a default."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"`{name}` must be positive. Received: {name}={value!r}")


def pareto_front(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """Return the trials that no other one beats in accuracy, stored bytes and speed-up at once."""
    finished = [trial for trial in trials if trial.error is None]
    merits = [(-t.accuracy_drop, -t.stored, t.speed_up) for t in finished]
    merits = np.array(merits).reshape(-1, 3)

    def is_dominated(merit):
        return ((merits >= merit).all(axis=1) & (merits > merit).any(axis=1)).any()

    return tuple(t for t, merit in zip(finished, merits, strict=True) if not is_dominated(merit))


def best(trials: Sequence[Trial], budget: Budget) -> Trial | None:
    """Return the trial within the budget with the greatest compression ratio x speed-up."""
    within = [trial for trial in trials if not budget.shortfalls(trial)]
    return max(within, key=lambda trial: trial.gain, default=None)


def nearest(trials: Sequence[Trial], budget: Budget) -> Trial | None:
    """Return the best trial, or else the one that misses the budget least; None without any."""
    finished = [trial for trial in trials if trial.error is None]
    return best(trials, budget) or min(finished, key=budget.distance, default=None)


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search has found.

    Attributes:
        directory: where everything is.
        name: the model's name.
        target: the device, or None.
        budget: the limits.
        time_budget: seconds that the search was given.
        reference: the float file of the model as it was passed.
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
        """Whether a trial meets the budget."""
        return self.best is not None

    @functools.cached_property
    def best(self) -> Trial | None:
        """The trial within the budget with the greatest compression ratio x speed-up."""
        return best(self.trials, self.budget)

    @functools.cached_property
    def nearest(self) -> Trial | None:
        """The best trial, or the one that misses the budget least; None before one has finished."""
        return nearest(self.trials, self.budget)

    @functools.cached_property
    def front(self) -> tuple[Trial, ...]:
        """The trials on the Pareto front of accuracy, stored bytes and speed-up."""
        return pareto_front(self.trials)

    @property
    def path(self) -> pathlib.Path:
        """The file of the nearest trial."""
        return self.directory / self.nearest.files["file"]

    @functools.cached_property
    def model(self):
        """The quantization-aware model that the file was made of."""
        import keras  # a result is read and reported without TensorFlow

        path = self.directory / self.nearest.files["weights"]
        return keras.saving.load_model(path, compile=False)

    @property
    def report(self) -> dict[str, Any]:
        """The evidence for the file, as ``ExportReport.to_json`` returns it."""
        text = (self.directory / self.nearest.files["evidence"]).read_text(encoding="utf-8")
        return json.loads(text)

    @property
    def shortfalls(self) -> dict[str, float]:
        """By how much the nearest trial misses the budget; empty if it meets it."""
        return {} if self.nearest is None else self.budget.shortfalls(self.nearest)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data, as ``result.json`` holds it."""
        return {
            "format": _FORMAT,
            "model": self.name,
            "target": self.target,
            "budget": self.budget.to_json(),
            "time_budget": self.time_budget,
            "met": self.met,
            "best": None if self.best is None else self.best.number,
            "nearest": None if self.nearest is None else self.nearest.number,
            "front": [trial.number for trial in self.front],
            "shortfalls": self.shortfalls,
            "reference": dataclasses.asdict(self.reference),
            "trials": [
                trial.to_json()
                | {"shortfalls": self.budget.shortfalls(trial), "on_front": trial in self.front}
                for trial in self.trials
            ],
            "environment": self.environment,
        }

    def to_text(self) -> str:
        """Return a table of the trials, and a sentence that sums them up."""
        reference, width = self.reference, len(self.reference.metric)
        first, unit = ("float", "gzip bytes") if reference.flash is None else ("int8", "flash")
        lines = [
            f"{'trial':>5}  {reference.metric}  {unit:>10}  {'ratio':>6}  {'run, ms':>8}  speed-up",
            f"{first:>5}  {reference.text_of(reference.accuracy):>{width}}  "
            f"{reference.stored:>10,}  {'1.0x':>6}  {1000 * reference.latency:>8.3f}      1.0x",
        ]
        for trial in self.trials:
            tried = reference.tried(trial)
            lines.append(
                f"{trial.number:>5}  failed: {tried}: {trial.error}"
                if trial.error is not None
                else f"{trial.number:>5}  {reference.text_of(trial.accuracy):>{width}}  "
                f"{trial.stored:>10,}  "
                f"{trial.compression_ratio:>5.1f}x  {1000 * trial.latency:>8.3f}  "
                f"{trial.speed_up:>7.1f}x  {tried}"
            )
        return "\n".join([*lines, self.verdict()])

    def verdict(self) -> str:
        """Say whether the budget is met, and by what."""
        trial, reference = self.nearest, self.reference
        where = "gzip" if reference.flash is None else "flash"
        found = (
            f"trial {trial.number}, {trial.compression_ratio:.1f}x smaller ({where}), "
            f"{trial.speed_up:.1f}x faster, {reference.metric} "
            f"{reference.text_of(trial.accuracy)} against "
            f"{reference.text_of(reference.accuracy)} of the float file"
        )
        if self.met:
            return f"The budget is met by {found}: {self.path}"
        phrases = {
            "accuracy_drop": lambda value: (
                f"loses {100 * value:.2f} points more than allowed"
                if reference.metric == ACCURACY
                else f"is {value:.4g} worse than allowed"
            ),
            "size": lambda value: f"is {value:,.0f} bytes too large",
            "latency": lambda value: f"is {1000 * value:.3f} ms too slow",
            "runs_on_target": lambda value: "does not run on the target",
        }
        missed = ", ".join(phrases[name](value) for name, value in self.shortfalls.items())
        return f"The budget is not met. Nearest is {found}; it {missed}: {self.path}"

    def save(self) -> None:
        """Write ``result.json``, and the best file and model under names that stay the same."""
        for kind, name in _BEST.items():
            content = (self.directory / self.nearest.files[kind]).read_bytes()
            write_atomically(self.directory / name, content)
        text = json.dumps(self.to_json(), indent=1) + "\n"
        write_atomically(self.directory / _RESULT, text.encode())


def read_result(path: str | os.PathLike) -> SearchResult:
    """Read the ``result.json`` of a search, or of its folder; other files are a ``ValueError``.

    Example:
    ```python
    read_result("search/result.json").met
    ```
    """
    path = pathlib.Path(path)
    path = path / _RESULT if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(
                f"this version reads format {_FORMAT}. Received: {content['format']!r}"
            )
        reference = Reference(**content["reference"])
        trials = tuple(Trial.from_json(entry) for entry in content["trials"])
        for record in (reference, *trials):
            _require_measured(record)
        return SearchResult(
            directory=path.parent,
            name=str(content["model"]),
            target=content["target"],
            budget=Budget(**content["budget"], metric=reference.metric),
            time_budget=content["time_budget"],
            reference=reference,
            trials=trials,
            environment=dict(content["environment"]),
        )
    except KeyError as error:
        raise ValueError(f"{path} is not the result of a search: it has no {error}") from error
    except (AttributeError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the result of a search: {error}") from error


def _require_measured(record: Reference | Trial) -> None:
    """Check that what is computed with is a number, and what is divided by is positive."""
    if getattr(record, "error", None) is not None:
        return
    positive = ("gzip_size", "latency", "reference_latency", "compression_ratio")
    for name in ("accuracy", "accuracy_drop", "seconds", *positive):
        value = getattr(record, name, 1)
        number = isinstance(value, int | float) and math.isfinite(value)
        if not number or (name in positive and value <= 0):
            raise ValueError(f"{name} must be a number. Received: {value!r}")
