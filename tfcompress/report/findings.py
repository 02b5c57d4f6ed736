"""What is known about a file, as plain data, from which pages, tables and JSON files are made."""

import dataclasses
import math
from typing import Any

from exporters.benchmarking import Measurement
from exporters.compatibility import CompatibilityReport
from exporters.parity import ParityReport
from tfcompress.report import formats
from tfcompress.report.answers import Answers
from tfcompress.report.histories import Training
from tfcompress.report.weights import Weights
from tfcompress.search.results import SearchResult

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class FileFindings:
    """What is known about one file as a whole."""

    name: str  # its path as it was given
    sha256: str  # the hash of its bytes, in hexadecimal
    size: int  # its bytes
    gzip_size: int  # its bytes after gzip
    parameters: int  # its parameters; a shared tensor counts once
    # Share of zeros among its weights, biases left out; None if it has no weights.
    sparsity: float | None
    macs: int  # multiply-accumulates of one run
    operations: dict[str, int]  # how often each operation occurs
    float_operations: int  # how many of them compute in float
    min_runtime: str | None  # the oldest TensorFlow release that runs it, None if unknown
    # The task metric of its outputs in the interpreter; None without labels.
    metric: float | None = None
    timing: Measurement | None = None  # its latency and memory; None if it was not timed

    @property
    def latency(self) -> float | None:
        """Median seconds of one run; None if it was not timed, or did not run."""
        ran = self.timing is not None and self.timing.error is None
        return self.timing.median if ran else None


@dataclasses.dataclass(frozen=True)
class LayerFindings:
    """What is known about one operation of the main graph, and the layer behind it."""

    index: int  # its place in the graph
    operation: str  # its name
    # The layer behind it: its path where the Keras model is known, otherwise its scope in the file;
    # None if the file does not say.
    layer: str | None
    dtype: str | None  # the type that it computes in
    float_: bool  # whether it computes in float
    size: int  # bytes of its constants
    macs: int  # its multiply-accumulates
    weights: Weights | None = None  # its weights; None if it has none
    # Signal over quantization noise at its output in dB, against the float file; infinite if they
    # are equal, None if it was not compared.
    sqnr: float | None = None
    inherited: float | None = None  # the lowest ``sqnr`` among its inputs, likewise
    seconds: float | None = None  # how long it takes by itself; None if it was not timed

    @property
    def title(self) -> str:
        """The layer, or the operation where no layer is known."""
        return self.layer or self.operation


@dataclasses.dataclass(frozen=True)
class Findings:
    """Everything that is known about a file.

    Attributes:
        file: the file.
        layers: its operations, in order.
        baseline: the float file that it is compared with, None without one.
        metric_name: what ``metric`` of the files is.
        reference: the name of what ``agreement`` compares with; None if nothing was compared.
        agreement: how its outputs agree with the reference's.
        noise_reference: the name of the float file that ``sqnr`` of the layers compares with.
        answers: what its first output answers; None if it was not run on data.
        verdicts: whether devices run it.
        baseline_verdicts: the same of the baseline, for devices whose compiler counts cycles.
        trainings: the metrics during training.
        search: the trials of the search that found it.
        runtime: the runtime that it was run with; None if it was not run.
        environment: versions and machine, by name.
        sources: the hash of each file that was read, by name.
        command: the command that reproduces these findings; None if a program made them.
    """

    file: FileFindings
    layers: tuple[LayerFindings, ...]
    baseline: FileFindings | None = None
    metric_name: str = "accuracy"
    reference: str | None = None
    agreement: ParityReport | None = None
    noise_reference: str | None = None
    answers: Answers | None = None
    verdicts: tuple[CompatibilityReport, ...] = ()
    baseline_verdicts: tuple[CompatibilityReport, ...] = ()
    trainings: tuple[Training, ...] = ()
    search: SearchResult | None = None
    runtime: str | None = None
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    sources: dict[str, str] = dataclasses.field(default_factory=dict)
    command: str | None = None

    @property
    def compression_ratio(self) -> float | None:
        """Gzipped bytes of the baseline over those of the file."""
        return None if self.baseline is None else self.baseline.gzip_size / self.file.gzip_size

    @property
    def speed_up(self) -> float | None:
        """Median latency of the baseline over that of the file."""
        times = (self.baseline and self.baseline.latency, self.file.latency)
        return None if None in times else times[0] / times[1]

    @property
    def metric_drop(self) -> float | None:
        """The metric of the baseline less that of the file, as a share for accuracy."""
        metrics = (self.baseline and self.baseline.metric, self.file.metric)
        return None if None in metrics else metrics[0] - metrics[1]

    def gains(self) -> str:
        """Say what compression gained and cost against the baseline, as far as it is known."""
        return formats.gains(
            self.compression_ratio, self.speed_up, self.metric_drop, self.metric_name
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-able values; what is infinite or not a number is null."""
        search = self.search and {
            **self.search.to_json(),
            "reference_accuracy": self.search.reference.accuracy,
            "reference_gzip_size": self.search.reference.gzip_size,
        }
        return plain(
            {
                "format": FORMAT,
                "compression_ratio": self.compression_ratio,
                "speed_up": self.speed_up,
                "metric_drop": self.metric_drop,
                **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
                "verdicts": [verdict.to_json() for verdict in self.verdicts],
                "baseline_verdicts": [verdict.to_json() for verdict in self.baseline_verdicts],
                "search": search,
            }
        )


def plain(value: Any) -> Any:
    """Turn dataclasses into dicts without pictures, tuples into lists, infinities into None."""
    if dataclasses.is_dataclass(value):
        names = (field.name for field in dataclasses.fields(value) if field.compare)
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
