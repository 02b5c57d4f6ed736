"""The training data of a search: checked, counted, and with what the original model says of it."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfcompress.data import as_called, flattened, gather
from tfcompress.distillation import cache_teacher
from tfcompress.distillation.cache import TeacherCache

_SAMPLE = 256
_ROUNDING = 1e-3  # of rows of probabilities


@dataclasses.dataclass(frozen=True)
class Lessons:
    """What ``fit`` gets in every trial.

    Attributes:
        teacher: the original model, or the cache of its outputs.
        steps: steps of an epoch.
        data: whatever ``fit`` takes; None where the cache holds the examples.
        arrays: (x, y) or (x, y, sample_weight), where the examples are arrays.
        batch_size: of arrays.
    """

    teacher: Any
    steps: int
    data: Any
    arrays: tuple
    batch_size: int

    def batches(self, seed: int):
        """Return the data of one training; arrays are shuffled by the seed."""
        if isinstance(self.teacher, TeacherCache):
            return self.teacher.attach(*self.arrays, batch_size=self.batch_size, seed=seed)
        return self.data


def require_labels(model: keras.Model, data, name: str) -> np.ndarray | None:
    """Check that data has labels for the classes of a model.

    Args:
        model: a classifier with one output.
        data: whatever ``fit`` takes.
        name: the argument, for errors.

    Returns:
        The labels that were looked at.

    Raises:
        TypeError: the data can be gone through only once.
        ValueError: there are no labels, not one for each example, or they do not fit the classes.
    """
    if isinstance(data, Iterator):
        raise TypeError(
            f"`{name}` is gone through again in every trial: pass arrays, a tf.data.Dataset or a "
            f"PyDataset, no iterator. Received: {type(data).__name__}"
        )
    whole = isinstance(data, tuple)
    inputs, labels = gather(data, None if whole else _SAMPLE)
    if labels is None:
        raise ValueError(
            f"`{name}` needs labels: (inputs, labels), or a dataset of such batches. "
            "Received: inputs alone"
        )
    _require_one_each(inputs, labels, data, name)
    classes = _classes(model)
    if labels.ndim > 1 and labels.shape[-1] > 1:
        if labels.shape[-1] != classes:
            raise ValueError(
                f"Model {model.name!r} tells {classes} classes. Received: `{name}` with one-hot "
                f"labels of {labels.shape[-1]} classes"
            )
        several = np.abs(labels.sum(-1) - 1) > _ROUNDING
        if several.any() or labels.min() < 0:
            raise ValueError(
                f"A search compares accuracies, for which each example has one class: class "
                f"numbers, or rows that sum to 1. Received: `{name}` with {int(several.sum())} of "
                f"{len(labels)} rows of labels that do not, such as "
                f"{labels[several.argmax()].tolist()}; several yes-or-no labels for each example "
                "are not supported"
            )
        return labels
    if labels.dtype.kind not in "iuf" or not (labels == np.floor(labels)).all():
        raise ValueError(
            f"Labels are class numbers or one-hot rows. Received: `{name}` with labels of type "
            f"{labels.dtype}, such as {labels.ravel()[0]!r}"
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        raise ValueError(
            f"Model {model.name!r} tells {classes} classes, numbered 0 to {classes - 1}. "
            f"Received: `{name}` with labels from {lowest} to {highest}"
        )
    return labels


def _require_one_each(inputs, labels, data, name):
    """Check that there are as many labels, and weights, as examples."""
    examples = len(next(flattened(inputs)))
    counts = {"labels": len(labels)}
    if isinstance(data, tuple) and len(data) > len(("x", "y")):
        counts["sample weights"] = len(data[2])
    for what, count in counts.items():
        if count != examples:
            raise ValueError(
                f"Each example needs one of the {what}. Received: `{name}` with {examples} "
                f"examples and {count} {what}"
            )


def observed_inputs(data):
    """Return some inputs, to see ranges, channels and sensitivities on.

    Args:
        data: whatever ``fit`` takes.

    Returns:
        256 inputs at most: of arrays, which may be in the order of their classes, some from the
        beginning to the end; of batches the first.
    """
    if not isinstance(data, tuple):
        return as_called(gather(data, _SAMPLE)[0])
    return as_called(spread(gather(data), _SAMPLE)[0])


def spread(examples: tuple, most: int) -> tuple:
    """Choose examples from the beginning to the end of gathered ones.

    Args:
        examples: (inputs, labels), as ``gather`` returns them.
        most: how many at most.

    Returns:
        (inputs, labels) of those.
    """
    inputs, labels = examples
    count = len(next(flattened(inputs)))
    rows = np.linspace(0, count - 1, min(most, count)).astype(int)
    chosen = keras.tree.map_structure(lambda array: array[rows], inputs)
    return chosen, None if labels is None else labels[rows]


def count_steps(data, batch_size: int) -> int:
    """Count the steps of an epoch.

    Args:
        data: whatever ``fit`` takes.
        batch_size: of arrays.

    Raises:
        ValueError: a dataset is endless.
    """
    if isinstance(data, tuple):
        return -(-len(next(flattened(data[0]))) // batch_size)
    return _count(data)


def make_lessons(model: keras.Model, data, batch_size: int, folder: pathlib.Path) -> Lessons:
    """Get the training data ready.

    The teacher's outputs for arrays are kept in a folder, so that trials cost no teacher. Datasets
    may augment their examples at random, so that their teacher answers in every step.

    Args:
        model: the original, which teaches.
        data: (x, y), (x, y, sample_weight), or a dataset that ``fit`` takes.
        batch_size: of arrays.
        folder: where the teacher's outputs are kept.

    Raises:
        ValueError: a dataset is endless or empty.
    """
    steps = count_steps(data, batch_size)
    if not isinstance(data, tuple):
        return Lessons(model, steps, data, (), batch_size)
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    cache = cache_teacher(model, x, folder, batch_size=batch_size, overwrite=True, progress=False)
    arrays = tuple(part for part in (x, y, weight) if part is not None)
    return Lessons(cache, steps, None, arrays, batch_size)


def _count(data) -> int:
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches
    steps = int(data.cardinality()) if isinstance(data, tf.data.Dataset) else len(data)
    if steps == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "An epoch needs an end: add `take(number_of_batches)` to the dataset. "
            f"Received: {data}, which is endless"
        )
    return steps if steps >= 0 else sum(1 for _ in data)


def _classes(model):
    shape = getattr(model, "output_shape", None)
    if not (isinstance(shape, tuple) and len(shape) == 2 and (shape[1] or 0) > 1):
        raise ValueError(
            "A search compares accuracies, for which the model has one output of shape (examples, "
            f"classes), with two classes at least. Received: model {model.name!r} with output "
            f"shape {shape}"
        )
    return shape[1]
