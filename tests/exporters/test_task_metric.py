"""Which metric outputs and labels allow, and the reason where they allow none."""

import numpy as np
import pytest

from exporters.task_metric import count_classes, find_task_metric

COLUMN = np.array([[0.9], [0.2], [0.6], [0.4]])
YES = np.array([1, 0, 0, 0])


@pytest.mark.parametrize(
    ("scores", "labels", "name", "value"),
    [
        (np.eye(3), np.array([0, 1, 1]), "accuracy", 2 / 3),
        (COLUMN, YES, "accuracy, yes above 0.5", 0.75),
        (COLUMN[:, 0], YES[:, None].astype(bool), "accuracy, yes above 0.5", 0.75),
        (4 * COLUMN - 2, YES.astype("float32"), "accuracy, yes above 0", 0.75),
        (
            np.array([[0.9, 0.8, 0.1], [0.2, 0.3, 0.9]]),
            np.array([[1, 1, 0], [0, 1, 1]]),
            "accuracy of single labels, yes above 0.5",
            5 / 6,
        ),
        (np.eye(2)[None], np.array([[0, 0]]), "accuracy at each position", 0.5),
        (np.eye(2)[None], np.array([[[0], [1]]]), "accuracy at each position", 1.0),
    ],
)
def test_metrics_by_hand(scores, labels, name, value):
    metric = find_task_metric(scores, labels)
    assert metric.name == name
    assert metric.compute([scores], labels) == pytest.approx(value)


@pytest.mark.parametrize(
    ("scores", "labels", "reason"),
    [
        (np.eye(3), None, "no labels"),
        (np.eye(3), np.array([0, 1, 9]), "numbers from 0 to 9, the output has 3 classes, 0 to 2"),
        (np.eye(3), np.full((3, 3), 0.5), r"shape \(3, 3\) and type float64 are neither"),
        (COLUMN, np.array([0.1, 0.2, 0.3, 0.4]), r"`exporters.validate\(..., metric=...\)`"),
        (np.eye(3), np.array([{}, {}, {}]), "several outputs"),
    ],
)
def test_reasons(scores, labels, reason):
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(find_task_metric(scores, labels))


def test_labels_of_other_examples():
    with pytest.raises(ValueError, match="2 labels for 3 examples"):
        find_task_metric(np.eye(3), np.array([0, 1]))


@pytest.mark.parametrize(
    ("scores", "labels", "count"),
    [
        (np.zeros((3, 8)), np.array([4, 4, 7]), 2),
        (np.zeros((2, 8)), np.array([[4.0], [5.0]]), 2),
        (np.zeros((3, 3)), np.eye(3)[[0, 0, 2]], 2),
        (np.zeros((2, 1)), np.array([True, False]), 2),
        (np.zeros((2, 2)), np.array([True, False]), 2),
        (np.zeros((2, 2)), np.array([[1, 1], [0, 1]]), None),
        (np.zeros((2, 1)), np.array([0.5, 1.0]), None),
        (np.zeros((3, 1)), np.array([[31], [42], [42]]), None),  # ages of a regression
        (np.zeros((2, 1)), None, None),
    ],
)
def test_classes_that_occur(scores, labels, count):
    assert count_classes(scores, labels) == count
