"""What a search has measured: of the model as it was given, and of each trial."""

import dataclasses
import math
from typing import Any

from tfcompress.search.space import Candidate

ACCURACY = "accuracy"


@dataclasses.dataclass(frozen=True)
class Reference:
    """The float file of the model as it was given.

    Attributes:
        file: its path, relative to the search's directory.
        accuracy: share of the validation examples that it classifies right, in the interpreter;
            or the value of the search's own metric.
        size: bytes.
        gzip_size: bytes after gzip.
        latency: median seconds of a run.
        parameters: weights of the model.
        macs: multiply-accumulate operations of one example; None where they cannot be counted.
        bare_size: bytes after gzip of the file without any weights: no compression goes below.
        metric: the name of what ``accuracy`` is.
        lower_is_better: whether less of it is better.
    """

    file: str
    accuracy: float
    size: int
    gzip_size: int
    latency: float
    parameters: int
    macs: int | None
    bare_size: int
    metric: str = ACCURACY
    lower_is_better: bool = False

    def drop_to(self, value: float) -> float:
        """Return how much worse a value of the metric is; negative where it is better."""
        return value - self.accuracy if self.lower_is_better else self.accuracy - value

    def text_of(self, value: float) -> str:
        """Write a value of the metric: accuracy in percent."""
        return f"{value:.2%}" if self.metric == ACCURACY else f"{value:.5g}"

    def change_of(self, drop: float) -> str:
        """Write how the metric has changed: accuracy in points."""
        if self.metric == ACCURACY:
            return f"{-100 * drop:+.2f} points"
        return f"{drop if self.lower_is_better else -drop:+.4g}"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One candidate, trained, exported and measured; or the reason why it could not be.

    Attributes:
        number: its number in the study.
        candidate: what was asked for.
        error: why it failed; None if it did not. Then all of the following are measured.
        parent: the number of the trial whose model this one went on from; None for the original.
        epochs: epochs of fine-tuning, in this trial.
        seconds: how long the whole trial took.
        training_seconds: how long its training took.
        accuracy: share of the validation examples that the file classifies right; or the value of
            the search's own metric.
        accuracy_drop: how much worse that is than the reference's.
        size: bytes of the file.
        gzip_size: bytes after gzip.
        compression_ratio: the reference's gzipped size divided by this one.
        latency: median seconds of a run.
        reference_latency: that of the reference, measured in turns with it.
        parameters: weights of the model.
        macs: multiply-accumulate operations of one example; None where they cannot be counted.
        zeros: the share of zeros among the weights of kernels.
        runs_on_target: whether the target runs the file; true without a target.
    """

    number: int
    candidate: Candidate
    error: str | None = None
    parent: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    training_seconds: float | None = None
    accuracy: float | None = None
    accuracy_drop: float | None = None
    size: int | None = None
    gzip_size: int | None = None
    compression_ratio: float | None = None
    latency: float | None = None
    reference_latency: float | None = None
    parameters: int | None = None
    macs: int | None = None
    zeros: float | None = None
    runs_on_target: bool | None = None

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
        """Where the files of the trial are, relative to the search's directory."""
        names = {
            "file": "model.tflite",
            "weights": "model.keras",
            "history": "history.json",
            "evidence": "evidence.json",
        }
        failed = self.error is not None
        return {
            kind: None if failed else f"trials/{self.number}/{name}" for kind, name in names.items()
        }

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
