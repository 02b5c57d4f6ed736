"""The task metric that outputs and labels allow, or the reason why they allow none."""

import dataclasses
from collections.abc import Callable

import numpy as np

from exporters.parity import accuracy, is_classification


@dataclasses.dataclass(frozen=True)
class TaskMetric:
    """A number for how well outputs fit labels.

    Attributes:
        name: what it is.
        compute: from the outputs, real numbers, and the labels to the number.
    """

    name: str
    compute: Callable[[list[np.ndarray], np.ndarray], float]


def find_task_metric(scores: np.ndarray, labels: np.ndarray | None) -> TaskMetric | str:
    """Choose the metric that a model's outputs and the labels allow.

    Args:
        scores: the model's first output on all examples, shape (examples, ...).
        labels: the labels: class numbers, one-hot rows, or zeros and ones of the output's shape.

    Returns:
        The accuracy: of classes; of yes-or-no answers, one an example or several; or of the class
        at each position. Otherwise the reason why there is none.

    Raises:
        ValueError: there are not as many labels as examples.

    Example:
    ```python
    metric = find_task_metric(np.array([[0.9], [0.2]]), np.array([1, 1]))
    metric.name, metric.compute([np.array([[0.9], [0.2]])], np.array([1, 1]))
    # ('accuracy, yes above 0.5', 0.5)
    ```
    """
    if labels is None:
        return "the data has no labels"
    if not _is_column(labels):
        return "several outputs have labels; pass `metric`"
    if len(labels) != len(scores):
        raise ValueError(
            f"Each example needs one label. Received: {len(labels)} labels for {len(scores)} "
            "examples"
        )
    if is_classification(scores, labels):
        return TaskMetric("accuracy", lambda outputs, labels: accuracy(outputs[0], labels))
    if _is_yes_or_no(labels) and labels.size == scores.size:
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
    return _reason(scores, labels)


def count_classes(labels: np.ndarray | None) -> int | None:
    """Count the classes that occur among labels; None where they name no classes."""
    if not _is_column(labels) or not labels.size:
        return None
    if labels.size == len(labels):
        whole = labels.dtype.kind in "iub" or (
            labels.dtype.kind == "f" and (labels == np.floor(labels)).all()
        )
        return len(np.unique(labels)) if whole else None
    if labels.ndim == 2 and _is_yes_or_no(labels) and (labels.sum(-1) == 1).all():
        return len(np.unique(labels.argmax(-1)))
    return None


def _is_column(labels) -> bool:
    """Tell whether labels are one array with an entry an example."""
    return isinstance(labels, np.ndarray) and labels.dtype != object and labels.ndim > 0


def _is_yes_or_no(labels: np.ndarray) -> bool:
    return labels.dtype.kind in "biuf" and bool(((labels == 0) | (labels == 1)).all())


def _reason(scores: np.ndarray, labels: np.ndarray) -> str:
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
