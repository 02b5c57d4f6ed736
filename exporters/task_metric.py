"""The accuracy of a model's outputs, by the kind of its outputs and labels."""

import dataclasses
from collections.abc import Callable

import numpy as np

_OWN_METRIC = "`exporters.validate(..., metric=...)` computes one of your own"


@dataclasses.dataclass(frozen=True)
class TaskMetric:
    """A metric: its name, and a function of the outputs (real numbers) and the labels."""

    name: str
    compute: Callable[[list[np.ndarray], np.ndarray], float]


def is_classification(scores: np.ndarray, labels: np.ndarray) -> bool:
    """Return whether each example has scores (examples, classes) and the label of one class.

    Labels are class indices of shape (examples,) or (examples, 1), or one-hot rows.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        return False
    if labels.shape == scores.shape:
        return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(-1) == 1).all())
    indices = labels.size == len(scores) and labels.dtype.kind in "biuf"
    numbers = bool(indices and (labels == np.floor(labels)).all() and (labels >= 0).all())
    return numbers and bool((labels < scores.shape[1]).all())


@dataclasses.dataclass(frozen=True)
class Decision:
    """How the scores of a model's first output become answers, to compare with labels."""

    metric: str  # what the share of right answers is called
    kind: str  # "class": one of several; "yes or no"; "labels": any of several; "positions"
    classes: int  # how many classes or labels there are; 2 for yes or no
    decide: Callable[[np.ndarray], np.ndarray]  # of scores; int array of the shape of ``labels``
    labels: np.ndarray  # int (examples,), or (examples, labels), or (examples, positions)


def find_decision(scores: np.ndarray, labels: np.ndarray | None) -> Decision | str:
    """Return what a model's first output decides, judged by the labels, or why that is unknown.

    Labels are class indices, one-hot rows, or zeros and ones of the output's shape.
    """
    if labels is None:
        return "the data has no labels"
    if not _is_array(labels):
        return f"several outputs have labels; {_OWN_METRIC}"
    if len(labels) != len(scores):
        raise ValueError(
            f"Each example needs one label. Received: {len(labels)} labels for {len(scores)} "
            "examples"
        )
    count, classes = len(scores), scores.shape[-1] if scores.ndim > 1 else 1
    if is_classification(scores, labels):
        truth = labels.argmax(-1) if labels.shape == scores.shape else labels.reshape(-1)
        return Decision("accuracy", "class", classes, lambda s: s.argmax(-1), truth.astype(int))
    if _is_binary(labels) and labels.size == scores.size:
        threshold = 0.5 if scores.min() >= 0 and scores.max() <= 1 else 0.0
        kind, name, shape = "yes or no", "accuracy", (count,)
        if scores.size != count:
            kind = "labels" if scores.ndim == 2 else "positions"
            name, shape = "accuracy of single labels", (count, scores.size // count)
        return Decision(
            f"{name}, yes above {threshold:g}",
            kind,
            classes if kind == "labels" else 2,
            lambda s: (s > threshold).reshape(len(s), *shape[1:]).astype(int),
            labels.reshape(shape).astype(int),
        )
    if (
        scores.ndim > 2
        and labels.size == np.prod(scores.shape[:-1])
        and is_classification(scores.reshape(-1, classes), labels.reshape(-1))
    ):
        return Decision(
            "accuracy at each position",
            "positions",
            classes,
            lambda s: s.argmax(-1).reshape(len(s), -1),
            labels.reshape(count, -1).astype(int),
        )
    return _no_metric(scores, labels)


def find_task_metric(scores: np.ndarray, labels: np.ndarray | None) -> TaskMetric | str:
    """Return the accuracy that fits a model's first output and the labels, or why none fits.

    Args:
        scores: see ``find_decision``.
        labels: likewise.

    Example:
    ```python
    metric = find_task_metric(np.array([[0.9], [0.2]]), np.array([1, 1]))
    metric.name, metric.compute([np.array([[0.9], [0.2]])], np.array([1, 1]))
    # ('accuracy, yes above 0.5', 0.5)
    ```
    """
    found = find_decision(scores, labels)
    if isinstance(found, str):
        return found
    return TaskMetric(
        found.metric,
        lambda outputs, _: float((found.decide(outputs[0]) == found.labels).mean()),
    )


def count_classes(scores: np.ndarray, labels: np.ndarray | None) -> int | None:
    """Count the classes that occur among labels; None if they or the scores are not of classes."""
    if not _is_array(labels) or not labels.size or isinstance(find_decision(scores, labels), str):
        return None
    if labels.size == len(labels):
        whole = labels.dtype.kind in "iub" or (
            labels.dtype.kind == "f" and (labels == np.floor(labels)).all()
        )
        return len(np.unique(labels)) if whole else None
    if labels.ndim == 2 and _is_binary(labels) and (labels.sum(-1) == 1).all():
        return len(np.unique(labels.argmax(-1)))
    return None


def _is_array(labels) -> bool:
    """Return whether labels are one array with an entry per example."""
    return isinstance(labels, np.ndarray) and labels.dtype != object and labels.ndim > 0


def _is_binary(labels: np.ndarray) -> bool:
    return labels.dtype.kind in "biuf" and bool(((labels == 0) | (labels == 1)).all())


def _no_metric(scores: np.ndarray, labels: np.ndarray) -> str:
    classes = scores.shape[-1] if scores.ndim > 1 else 1
    numbers = labels.size == len(labels) and labels.dtype.kind in "iu"
    if numbers and classes > 1 and scores.ndim == 2:
        return (
            f"the labels are numbers from {labels.min()} to {labels.max()}, the output has "
            f"{classes} classes, 0 to {classes - 1}"
        )
    return (
        f"labels of shape {labels.shape} and type {labels.dtype} are neither class numbers, "
        f"one-hot rows nor zeros and ones for an output of shape {scores.shape}; {_OWN_METRIC}"
    )
