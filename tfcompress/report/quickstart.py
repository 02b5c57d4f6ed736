"""What a quickstart has measured, as data, as a table and in sentences."""

import dataclasses
import json

from rich.table import Table

from exporters.report import ExportReport
from exporters.timing.benchmarking import BenchmarkResult, Measurement


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """One training.

    Attributes:
        title: what was trained.
        parameters: the number of its weights.
        seconds: how long it took.
        history: the value of each metric after each epoch.
    """

    title: str
    parameters: int
    seconds: float
    history: dict[str, list[float]]


@dataclasses.dataclass(frozen=True)
class QuickstartReport:
    """Everything that a quickstart has measured.

    Attributes:
        seed: the seed of the run.
        trained: the trainings, in order.
        sparsity: the share of zeros in the pruned kernels, 0 to 1.
        float_file: the evidence for the float file of the student before compression.
        int8_file: the evidence for the compressed file.
        timing: both files' latency, measured in turns.
        seconds: how long the whole run took.
        environment: versions and machine.
    """

    seed: int
    trained: tuple[TrainedModel, ...]
    sparsity: float
    float_file: ExportReport
    int8_file: ExportReport
    timing: BenchmarkResult
    seconds: float
    environment: dict[str, str]

    @property
    def compression_ratio(self) -> float:
        """The float file's gzipped size divided by the int8 file's."""
        return self.float_file.gzip_size / self.int8_file.gzip_size

    @property
    def speed_up(self) -> float:
        """The float file's median latency divided by the int8 file's."""
        float_time, int8_time = self.timing.measurements
        return float_time.median / int8_time.median

    @property
    def accuracy_drop(self) -> float:
        """Accuracy lost from the float file to the int8 file in the interpreter, in points."""
        return 100 * (self.float_file.agreement.metric - self.int8_file.agreement.metric)

    def to_json(self) -> str:
        """Return everything as JSON text."""
        content = {
            **dataclasses.asdict(self),
            "compression_ratio": self.compression_ratio,
            "speed_up": self.speed_up,
            "accuracy_drop": self.accuracy_drop,
        }
        return json.dumps(content, indent=1, default=str) + "\n"

    def rows(self) -> list[tuple[str, ...]]:
        """Return a row for each file: name, accuracy, sizes, latency, float operations."""
        pairs = zip(
            ("model_float.tflite", "model_int8.tflite"),
            (self.float_file, self.int8_file),
            self.timing.measurements,
            strict=True,
        )
        return [_row(name, file, measurement) for name, file, measurement in pairs]

    def to_table(self) -> Table:
        """Return the rows as a table for the terminal."""
        table = Table(title="held-out photos, in the interpreter")
        for column in HEADINGS:
            table.add_column(column, justify="left" if column == "file" else "right", no_wrap=True)
        for row in self.rows():
            table.add_row(*row)
        return table

    def remarks(self) -> list[str]:
        """Return what the numbers say, a sentence each."""
        agreement = self.int8_file.agreement
        return [
            f"{self.compression_ratio:.1f}x smaller (gzip), {self.speed_up:.1f}x faster, "
            f"{_drop(self.accuracy_drop)}; {100 * self.sparsity:.1f} % of the weights are zero",
            f"int8 file against the Keras model: {100 * agreement.equal:.1f} % of the outputs "
            f"equal, {100 * agreement.within_one:.1f} % within one step, largest difference "
            f"{agreement.largest:.0f}, same class on {100 * agreement.same_class:.1f} %",
            f"{self.seconds:.0f} s in all",
        ]


HEADINGS = ("file", "accuracy %", "bytes", "gzipped", "median ms", "float ops")


def _row(name: str, file: ExportReport, measurement: Measurement) -> tuple[str, ...]:
    return (
        name,
        f"{100 * file.agreement.metric:.2f}",
        f"{file.size:,}",
        f"{file.gzip_size:,}",
        f"{1000 * measurement.median:.3f}",
        str(len(file.float_operations)),
    )


def _drop(points: float) -> str:
    if points > 0:
        return f"{points:.2f} points of accuracy lost"
    return f"{-points:.2f} points of accuracy gained" if points < 0 else "no accuracy lost"
