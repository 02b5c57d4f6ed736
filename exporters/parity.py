"""How close a file's outputs are to a reference, and how to say it."""

import dataclasses
from typing import Any

import numpy as np

from exporters.layer_parity import LayerAgreement
from exporters.running.tensor_details import Port


@dataclasses.dataclass(frozen=True)
class OutputAgreement:
    """How one output of a file agrees with the reference.

    Attributes:
        name: the output's name.
        unit: "LSB" where the output is quantized: the reference is rounded to the output's own
            steps, and differences are counted in steps; "absolute" where it is float.
        step: the size of a step: the output's scale, or the tolerance for a float output.
        equal: share of values that are equal (float: equal to the last bit).
        within_one: share of values that differ by one step at most.
        largest: the largest difference, in steps for "LSB", in absolute terms for "absolute".
        same_class: share of examples whose largest entry along the last axis is the reference's
            (a tie of the file's entries is no difference); None where that axis has one entry.
    """

    name: str
    unit: str
    step: float
    equal: float
    within_one: float
    largest: float
    same_class: float | None


@dataclasses.dataclass(frozen=True)
class RunAgreement:
    """How a file agrees with the reference under one runtime and kernel set.

    Attributes:
        runtime: the runtime's name and version.
        kernels: the kernel set.
        outputs: the agreement of each output; empty if it did not run.
        metric: the task metric of the file's outputs, None without labels.
        error: why it did not run, otherwise None.
    """

    runtime: str
    kernels: str
    outputs: tuple[OutputAgreement, ...] = ()
    metric: float | None = None
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How a file agrees with a reference.

    Attributes:
        examples: how many examples were run.
        runs: one entry for each runtime and kernel set, the preferred one first.
        reference_metric: the task metric of the reference's outputs, None without labels.
        layers: how each operation agrees with a float file, in order; empty without one.
        first_wrong: the first operation that goes wrong, None if none does or there is no float
            file to tell.
        classes: how many classes occur among the labels; None where they name none.
        noise: whether the examples are random numbers, which say little about real data.
        metric_name: what the task metric is; None where there is none.
        no_metric: why there is none; None where there is one.
    """

    examples: int
    runs: tuple[RunAgreement, ...]
    reference_metric: float | None = None
    layers: tuple[LayerAgreement, ...] = ()
    first_wrong: LayerAgreement | None = None
    classes: int | None = None
    noise: bool = False
    metric_name: str | None = None
    no_metric: str | None = None

    @property
    def ran(self) -> tuple[RunAgreement, ...]:
        """The runtimes and kernel sets under which the file ran."""
        return tuple(run for run in self.runs if run.error is None)

    @property
    def equal(self) -> float:
        """Share of equal values: of the first output, under the first that ran."""
        return self.ran[0].outputs[0].equal

    @property
    def within_one(self) -> float:
        """Share of values within one step, likewise."""
        return self.ran[0].outputs[0].within_one

    @property
    def largest(self) -> float:
        """The largest difference, likewise."""
        return self.ran[0].outputs[0].largest

    @property
    def same_class(self) -> float | None:
        """Share of examples with the same class, likewise."""
        return self.ran[0].outputs[0].same_class

    @property
    def metric(self) -> float | None:
        """The file's task metric under the first that ran."""
        return self.ran[0].metric

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """Return a table for the terminal."""
        lines = [f"{self.examples} examples"]
        if self.noise:
            lines[0] += " of random noise, which says little about real data"
        elif self.classes is not None:
            lines[0] += f" of {self.classes} {'class' if self.classes == 1 else 'classes'}"
        if self.reference_metric is not None:
            name = "" if self.metric_name is None else f" ({self.metric_name})"
            lines[0] += f", reference metric {self.reference_metric:.4f}{name}"
        elif self.no_metric is not None:
            lines[0] += f"; no metric: {self.no_metric}"
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


def compare(port: Port, output: np.ndarray, reference: np.ndarray, tolerance: float):
    """Compare an output with what was expected.

    Args:
        port: the output.
        output: what the file gave, in the output's own type, shape (examples, ...).
        reference: the expected real numbers, of the same shape.
        tolerance: for a float output, the step.

    Returns:
        The ``OutputAgreement``.

    Raises:
        ValueError: the shapes differ.

    Example:
    ```python
    port = Port("y", 0, (1, 2), np.dtype("int8"), scale=0.5, zero_point=0)
    compare(port, np.array([[2, 4]], np.int8), np.array([[1.0, 2.5]]), tolerance=1e-4)
    # equal 0.5: 1.0 is step 2; 2.5 is step 5, one off
    ```
    """
    if output.shape != reference.shape:
        raise ValueError(
            f"Output {port.name!r} has shape {output.shape}. "
            f"Received a reference of shape {reference.shape}"
        )
    if port.scale is None:
        difference = np.abs(output.astype(np.float64) - reference.astype(np.float64))
        unit, step = "absolute", tolerance
        near = difference <= tolerance
    else:
        expected = port.to_file(reference.astype(np.float32))
        difference = np.abs(output.astype(np.int64) - expected.astype(np.int64))
        unit, step = "LSB", port.scale
        near = difference <= 1
    same_class = None
    if output.ndim > 1 and output.shape[-1] > 1:
        chosen = np.take_along_axis(output, reference.argmax(-1)[..., None], -1)[..., 0]
        same_class = float((chosen == output.max(-1)).mean())
    return OutputAgreement(
        name=port.name,
        unit=unit,
        step=float(step),
        equal=float((difference == 0).mean()),
        within_one=float(near.mean()),
        largest=float(difference.max(initial=0)),
        same_class=same_class,
    )


def is_classification(scores: np.ndarray, labels: np.ndarray) -> bool:
    """Tell whether scores are a row of classes an example, and labels name a class of each.

    Args:
        scores: a model's output.
        labels: class indices, shape (examples,) or (examples, 1), or one-hot rows.

    Returns:
        Whether ``accuracy`` says something.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        return False
    if labels.shape == scores.shape:
        return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(-1) == 1).all())
    indices = labels.size == len(scores) and labels.dtype.kind in "iuf"
    numbers = bool(indices and (labels == np.floor(labels)).all() and (labels >= 0).all())
    return numbers and bool((labels < scores.shape[1]).all())


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of examples whose largest score is that of the label.

    Args:
        scores: shape (examples, classes).
        labels: class indices, shape (examples,) or (examples, 1), or one-hot rows.

    Returns:
        A share between 0 and 1.

    Example:
    ```python
    accuracy(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]))  # 0.5
    ```
    """
    classes = labels.argmax(-1) if labels.shape == scores.shape else labels.reshape(-1)
    return float((scores.argmax(-1) == classes).mean())


def _output_text(output: OutputAgreement) -> str:
    if output.unit == "LSB":
        text = (
            f"{output.name}: {output.equal:.1%} equal, {output.within_one:.1%} within 1 LSB, "
            f"largest {output.largest:g} LSB"
        )
    else:
        text = (
            f"{output.name}: {output.within_one:.1%} within {output.step:g}, "
            f"largest difference {output.largest:.3g}"
        )
    if output.same_class is not None:
        text += f", {output.same_class:.1%} same class"
    return text
