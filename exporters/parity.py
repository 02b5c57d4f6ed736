"""Numerical parity: how close a file's outputs are to those of a reference."""

import dataclasses
import math
from typing import Any

import numpy as np

from exporters.layer_parity import LayerParity
from exporters.running.tensor_details import TensorDetails
from tfcompress.tflite.numerics import sqnr

_NO_SIGNAL = 1e-9  # the mean square of outputs that are nothing but the rounding of floats

# Data beyond what an input holds by more than outliers are, and data that an input of 8 bits has
# a few steps for: pixels up to 255 where there should be fractions, and the other way round.
_BEYOND, _CORNER = 8, 50


@dataclasses.dataclass(frozen=True)
class OutputParity:
    """Numerical parity of one output."""

    name: str  # the output's name
    # "LSB" for a quantized output: the reference is quantized like the output, and differences
    # are counted in steps; "absolute" for a float output.
    unit: str
    step: float  # the size of a step: the output's scale, or the tolerance of a float output
    equal: float  # share of equal values (float: bit by bit)
    within_one: float  # share of values that differ by at most one step
    largest: float  # the largest difference, in steps for "LSB", otherwise absolute
    # Share of examples with the reference's largest entry along the last axis (ties count as
    # equal); None if that axis has one entry.
    same_class: float | None
    tied: float = 0.0  # share of examples that count as the same by a tie alone
    constant: bool = False  # whether the file gives one output for all of several examples
    # The ratio of the reference to its difference from the output, in dB; infinite if none differs.
    sqnr: float = math.inf


@dataclasses.dataclass(frozen=True)
class RunParity:
    """Numerical parity under one runtime and kernel set."""

    runtime: str  # the runtime's name and version
    kernels: str
    # The parity of each output; empty if the file did not run.
    outputs: tuple[OutputParity, ...] = ()
    metric: float | None = None  # the task metric of the file's outputs; None without labels
    error: str | None = None  # why the file did not run; otherwise None


@dataclasses.dataclass(frozen=True)
class ParityReport:
    """Numerical parity of a file with a reference.

    Attributes:
        examples: how many examples were run.
        runs: one entry per runtime and kernel set, the preferred one first.
        reference_metric: the task metric of the reference's outputs; None without labels.
        layers: the parity of each operation with a float file, in order; empty without one.
        first_wrong: the first operation whose output is wrong; None if there is none, or no float
            file to compare with.
        classes: the number of classes among the labels; None if the labels are not classes.
        noise: whether the examples are random numbers, which say little about real data.
        noise_from: what they are drawn from, where that is known.
        metric_name: the name of the task metric; None without one.
        no_metric: why there is no task metric; None if there is one.
        misfits: inputs that lie far from what the file's quantized inputs hold, in words.
    """

    examples: int
    runs: tuple[RunParity, ...]
    reference_metric: float | None = None
    layers: tuple[LayerParity, ...] = ()
    first_wrong: LayerParity | None = None
    classes: int | None = None
    noise: bool = False
    noise_from: str | None = None
    metric_name: str | None = None
    no_metric: str | None = None
    misfits: tuple[str, ...] = ()

    @property
    def ran(self) -> tuple[RunParity, ...]:
        """The runtimes and kernel sets under which the file ran."""
        return tuple(run for run in self.runs if run.error is None)

    @property
    def equal(self) -> float:
        """Share of equal values of the first output, under the first runtime that ran."""
        return self.ran[0].outputs[0].equal

    @property
    def within_one(self) -> float:
        """Share of values within one step, of the same output."""
        return self.ran[0].outputs[0].within_one

    @property
    def largest(self) -> float:
        """The largest difference of the same output."""
        return self.ran[0].outputs[0].largest

    @property
    def same_class(self) -> float | None:
        """Share of examples with the same class in the same output."""
        return self.ran[0].outputs[0].same_class

    @property
    def metric(self) -> float | None:
        """The file's task metric, under the first runtime that ran."""
        return self.ran[0].metric

    def of_what(self) -> str:
        """Say what the examples are: noise, or of how many classes; empty if it is unknown."""
        if self.noise:
            drawn = "" if self.noise_from is None else f" from {self.noise_from}"
            return f" of random noise{drawn}, which says little about real data"
        if self.classes is None:
            return ""
        return f" of {self.classes} {'class' if self.classes == 1 else 'classes'}"

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """Return a table for the terminal."""
        lines = [f"{self.examples} examples{self.of_what()}"]
        if self.reference_metric is not None:
            name = "" if self.metric_name is None else f" ({self.metric_name})"
            lines[0] += f", reference metric {self.reference_metric:.4f}{name}"
        elif self.no_metric is not None:
            lines[0] += f"; no metric: {self.no_metric}"
        lines += self.misfits
        for run in self.runs:
            head = f"{run.runtime}, {run.kernels}: "
            if run.error is not None:
                lines.append(head + f"did not run: {run.error}")
                continue
            for output in run.outputs:
                lines.append(head + _output_text(output))
            if run.metric is not None:
                lines[-1] += f", metric {run.metric:.4f}"
        if self.first_wrong is not None:
            lines.append(f"first to go wrong: {self.first_wrong}")
        return "\n".join(lines)


def decibels(wanted: np.ndarray, found: np.ndarray) -> float:
    """Return the signal-to-noise ratio of outputs in dB; infinite where there is no signal."""
    wanted = np.asarray(wanted, np.float64)
    if not wanted.size or np.square(wanted).mean() < _NO_SIGNAL:
        return math.inf
    return sqnr(wanted, np.asarray(found, np.float64))


def misfit(details: TensorDetails, array: np.ndarray) -> str | None:
    """Say that real numbers lie far beyond what a quantized input holds, or in a corner of it."""
    if details.scale is None or array.dtype == details.dtype or not array.size:
        return None
    held = details.ends
    data = np.array([array.min(), array.max()], np.float64)
    ratio = float(np.abs(data).max() / np.abs(held).max())
    if not (ratio > _BEYOND or 0 < ratio < 1 / _CORNER):  # NaN, too, is said elsewhere
        return None
    return (
        f"input {details.name}: the data lies between {data[0]:.3g} and {data[1]:.3g}, the file "
        f"holds {held[0]:.3g} to {held[1]:.3g}{' and cuts off the rest' * (ratio > 1)}: prepare it "
        "as the data that the file's ranges were observed on, and as in training"
    )


def compare(details: TensorDetails, output: np.ndarray, reference: np.ndarray, tolerance: float):
    """Compare an output with the expected real numbers; both have shape (examples, ...)."""
    if output.shape != reference.shape:
        raise ValueError(
            f"Output {details.name!r} has shape {output.shape}. "
            f"Received a reference of shape {reference.shape}"
        )
    if details.scale is None:
        difference = np.abs(output.astype(np.float64) - reference.astype(np.float64))
        unit, step = "absolute", tolerance
        near = difference <= tolerance
    else:
        expected = details.to_file(reference.astype(np.float32))
        difference = np.abs(output.astype(np.int64) - expected.astype(np.int64))
        unit, step = "LSB", details.scale
        near = difference <= 1
    same_class, tied = None, 0.0
    if output.ndim > 1 and output.shape[-1] > 1:
        chosen = np.take_along_axis(output, reference.argmax(-1)[..., None], -1)[..., 0]
        largest = chosen == output.max(-1)
        same_class = float(largest.mean())
        tied = float((largest & (output.argmax(-1) != reference.argmax(-1))).mean())
    return OutputParity(
        name=details.name,
        unit=unit,
        step=float(step),
        equal=float((difference == 0).mean()),
        within_one=float(near.mean()),
        largest=float(difference.max(initial=0)),
        same_class=same_class,
        tied=tied,
        constant=len(output) > 1 and bool((output == output[:1]).all()),
        sqnr=decibels(reference, details.to_real(output)),
    )


def _output_text(output: OutputParity) -> str:
    near = f"{output.within_one:.1%} within"
    text = f"{near} {output.step:g}, largest difference {output.largest:.3g}"
    if output.unit == "LSB":
        text = f"{output.equal:.1%} equal, {near} 1 LSB, largest {output.largest:g} LSB"
    same = "" if output.same_class is None else f", {output.same_class:.1%} same class"
    if output.tied:
        same += f" ({output.tied:.1%} by a tie)"
    constant = ", one output for all examples" if output.constant else ""
    return f"{output.name}: {text}{same}{constant}"
