"""What an export knows about the file that it has written."""

import collections
import dataclasses
import gzip
import importlib
import pathlib
from typing import Any

from exporters.compatibility import Verdict
from exporters.parity import Agreement
from exporters.running.tensor_details import ports
from tfcompress.targets.versions import minimum_runtime
from tfcompress.tflite.model import TFLiteModel

_ZSTD_LEVEL = 19  # a file is compressed once and downloaded often


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """The evidence for one exported file.

    Attributes:
        quantization: the kind of export.
        size: the file's size in bytes.
        gzip_size: its size in bytes after gzip, which is what a download costs.
        operations: how many operations of each kind the file has, by name.
        float_operations: the names of those that compute in float, one entry for each.
        inputs: name, shape, dtype, scale and zero point of each input.
        outputs: likewise of each output.
        min_runtime: the oldest TensorFlow release whose runtime runs it, None if unknown.
        agreement: how the file agrees with the Keras model.
        signature_agreements: likewise of each further signature, by key.
        verdict: what the target makes of the file, None without a target.
        zstd_size: its size in bytes after Zstandard, None without the extra `zstd`.
    """

    quantization: str
    size: int
    gzip_size: int
    operations: dict[str, int]
    float_operations: tuple[str, ...]
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any], ...]
    min_runtime: str | None
    agreement: Agreement
    signature_agreements: dict[str, Agreement] = dataclasses.field(default_factory=dict)
    verdict: Verdict | None = None
    zstd_size: int | None = None

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
            self.agreement.to_text(),
        ]
        for key, agreement in self.signature_agreements.items():
            lines.append(f"signature {key}: {agreement.to_text()}")
        if self.verdict is not None:
            lines.append(self.verdict.to_text())
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """A file that was written, and what is known about it.

    Attributes:
        path: where the file is.
        report: the evidence.
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


def describe(model: TFLiteModel) -> dict[str, Any]:
    """Describe a file's operations, inputs, outputs and age, as ``ExportReport`` holds them."""
    counts = collections.Counter(
        operation.name for subgraph in model.subgraphs for operation in subgraph.operations
    )
    inputs, outputs = ports(model)
    return {
        "operations": dict(counts.most_common()),
        "inputs": tuple(_plain(port) for port in inputs),
        "outputs": tuple(_plain(port) for port in outputs),
        "min_runtime": minimum_runtime(model),
    }


def _plain(port) -> dict[str, Any]:
    return {
        "name": port.name,
        "shape": list(port.shape),
        "dtype": port.dtype.name,
        "scale": port.scale,
        "zero_point": port.zero_point,
    }


def gzip_size(content: bytes) -> int:
    """Return the bytes that gzip makes of a file, at its highest level."""
    return len(gzip.compress(content, mtime=0))


def zstd_size(content: bytes) -> int | None:
    """Return the bytes that Zstandard makes of a file, at level 19.

    Python has Zstandard from 3.14 on; before, it takes the extra `zstd`.

    Returns:
        The size; None where the extra is not installed.
    """
    try:
        zstd = importlib.import_module("backports.zstd")
    except ImportError:
        return None
    return len(zstd.compress(content, _ZSTD_LEVEL))
