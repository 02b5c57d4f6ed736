"""The report of an export: sizes, operations, numerical parity, compatibility."""

import dataclasses
import gzip
import importlib
import pathlib
from typing import Any

from exporters.compatibility import CompatibilityReport
from exporters.fidelity import Fidelity
from exporters.parity import ParityReport

_ZSTD_LEVEL = 19  # a file is compressed once and downloaded often


@dataclasses.dataclass(frozen=True)
class RepairTrial:
    """What came of repairing a model before its file was made.

    Attributes:
        kept: whether the file is that of the repaired model.
        reason: why it is not; empty if it is.
        examples: how many examples judged, which the repair had not seen.
        plain: signal-to-noise ratio in dB of the outputs without a repair, against the float model.
        repaired: the same with it.
        seconds: how long it took to find out.
    """

    kept: bool
    reason: str = ""
    examples: int = 0
    plain: float | None = None
    repaired: float | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.plain is None:
            return f"no repair: {self.reason}"
        found = (
            f"{self.plain:.1f} dB without, {self.repaired:.1f} dB with it on {self.examples} "
            f"examples held out, {self.seconds:.0f} s"
        )
        return f"repaired: {found}" if self.kept else f"not repaired, {self.reason}: {found}"


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What is known about an exported file.

    Attributes:
        quantization: the kind of export.
        size: the file's size in bytes.
        gzip_size: its size in bytes after gzip.
        operations: {operation: count}.
        float_operations: the name of each operation that computes in float.
        inputs: name, shape, dtype, scale and zero point of each input.
        outputs: the same of each output.
        min_runtime: the oldest TensorFlow release whose runtime runs the file, None if unknown.
        agreement: numerical parity with the Keras model.
        signature_agreements: the same of each further signature, by key.
        verdict: the compatibility with the target, None without a target.
        zstd_size: its size in bytes after Zstandard, None without the extra `zstd`.
        repair: what came of repairing the model first, None where that was not tried.
        fidelity: how far the outputs are from those of the float model, None where that was not
            measured: without examples, or with less than 8 bits.
    """

    quantization: str
    size: int
    gzip_size: int
    operations: dict[str, int]
    float_operations: tuple[str, ...]
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any], ...]
    min_runtime: str | None
    agreement: ParityReport
    signature_agreements: dict[str, ParityReport] = dataclasses.field(default_factory=dict)
    verdict: CompatibilityReport | None = None
    zstd_size: int | None = None
    repair: RepairTrial | None = None
    fidelity: Fidelity | None = None

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        report = dataclasses.asdict(self)
        report["verdict"] = None if self.verdict is None else self.verdict.to_json()
        return report

    def __str__(self) -> str:
        counts = ", ".join(f"{name} x{count}" for name, count in self.operations.items())
        zstd = "" if self.zstd_size is None else f", {self.zstd_size:,} with Zstandard"
        lines = [
            f"{self.quantization}: {self.size:,} bytes, {self.gzip_size:,} gzipped{zstd}, needs "
            f"the runtime of TensorFlow {self.min_runtime or '(unknown)'} or later",
            f"operations: {counts}",
            f"in float: {', '.join(self.float_operations) or 'none'}",
        ]
        if self.repair is not None:
            lines.append(str(self.repair))
        lines.append(self.agreement.to_text())
        if self.fidelity is not None:
            lines.append(str(self.fidelity))
        for key, agreement in self.signature_agreements.items():
            lines.append(f"signature {key}: {agreement.to_text()}")
        if self.verdict is not None:
            lines.append(self.verdict.to_text())
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """An exported file.

    Attributes:
        path: the file.
        report: what is known about it.
    """

    path: pathlib.Path
    report: ExportReport

    @property
    def size(self) -> int:
        """The file's size in bytes."""
        return self.report.size

    @property
    def gzip_size(self) -> int:
        """The file's size in bytes after gzip."""
        return self.report.gzip_size

    @property
    def zstd_size(self) -> int | None:
        """The file's size in bytes after Zstandard, None without the extra `zstd`."""
        return self.report.zstd_size


def gzip_size(content: bytes) -> int:
    """Return the size of a file after gzip, which is what a download costs."""
    return len(gzip.compress(content, mtime=0))


def zstd_size(content: bytes) -> int | None:
    """Return the size of a file after Zstandard, None without the extra `zstd`."""
    try:
        zstd = importlib.import_module("backports.zstd")
    except ImportError:
        return None
    return len(zstd.compress(content, _ZSTD_LEVEL))
