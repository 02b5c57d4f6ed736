"""The accuracy of a model's outputs, by the kind of its outputs and labels."""

import dataclasses
from collections.abc import Callable

import numpy as np


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
    indices = labels.size == len(scores) and labels.dtype.kind in "iuf"
    numbers = bool(indices and (labels == np.floor(labels)).all() and (labels >= 0).all())
    return numbers and bool((labels < scores.shape[1]).all())


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of examples whose largest score is that of the label."""
    classes = labels.argmax(-1) if labels.shape == scores.shape else labels.reshape(-1)
    return float((scores.argmax(-1) == classes).mean())


def find_task_metric(scores: np.ndarray, labels: np.ndarray | None) -> TaskMetric | str:
    """Return the accuracy that fits a model's first output and the labels, or why none fits.

    Args:
        scores: the output on all examples, shape (examples, ...).
        labels: class indices, one-hot rows, or zeros and ones of the output's shape.

    Example:
    ```python
    metric = find_task_metric(np.array([[0.9], [0.2]]), np.array([1, 1]))
    metric.name, metric.compute([np.array([[0.9], [0.2]])], np.array([1, 1]))
    # ('accuracy, yes above 0.5', 0.5)
    ```
    """
    if labels is None:
        return "the data has no labels"
    if not _is_array(labels):
        return "several outputs have labels; pass `metric`"
    if len(labels) != len(scores):
        raise ValueError(
            f"Each example needs one label. Received: {len(labels)} labels for {len(scores)} "
            "examples"
        )
    if is_classification(scores, labels):
        return TaskMetric("accuracy", lambda outputs, labels: accuracy(outputs[0], labels))
    if _is_binary(labels) and labels.size == scores.size:
        threshold = 0.5 if scores.min() >= 0 and scores.max() <= 1 else 0.0
        kind = "accuracy" if scores.size == len(scores) else "accuracy of single labels"
        return TaskMetric(
            f"{kind}, yes above {threshold:g}",
            lambda outputs, labels: float(
                ((outputs[0] > threshold).ravel() == labels.astype(bool).ravel()).mean()
            ),
        )
    positions = scores.shape[:-1]
    if len(positions) > 1 and labels.size == np.prod(positions):
        classes = scores.shape[-1]
        if is_classification(scores.reshape(-1, classes), labels.reshape(-1)):
            return TaskMetric(
                "accuracy at each position",
                lambda outputs, labels: accuracy(
                    outputs[0].reshape(-1, classes), labels.reshape(-1)
                ),
            )
    return _no_metric(scores, labels)


def count_classes(labels: np.ndarray | None) -> int | None:
    """Count the classes that occur among labels; None if the labels are not classes."""
    if not _is_array(labels) or not labels.size:
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
        f"one-hot rows nor zeros and ones for an output of shape {scores.shape}; pass `metric`"
    )
