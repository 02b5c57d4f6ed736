"""The training data of a search: checked, counted, with the outputs of the original as teacher."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfcompress.data import as_called, count_examples, evenly_spaced, flattened, gather
from tfcompress.distillation import TeacherCache, cache_teacher

_SAMPLE = 256
_ROUNDING = 1e-3  # of rows of probabilities


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What ``fit`` gets in every trial."""

    teacher: Any  # the original model, or the cache of its outputs
    steps: int  # of an epoch
    data: Any  # whatever ``fit`` takes; None where the cache holds the examples
    arrays: tuple  # (x, y) or (x, y, sample_weight), where the examples are arrays
    batch_size: int

    def batches(self, seed: int):
        """Return the data of one training; arrays are shuffled by the seed."""
        if isinstance(self.teacher, TeacherCache):
            return self.teacher.attach(*self.arrays, batch_size=self.batch_size, seed=seed)
        return self.data


def prepare_training_data(
    model: keras.Model, data, batch_size: int, folder: pathlib.Path
) -> TrainingData:
    """Cache the teacher's outputs for arrays; a dataset may augment, so it runs in each step."""
    steps = count_steps(data, batch_size)
    if not isinstance(data, tuple):
        return TrainingData(model, steps, data, (), batch_size)
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    cache = cache_teacher(model, x, folder, batch_size=batch_size, overwrite=True, progress=False)
    arrays = tuple(part for part in (x, y, weight) if part is not None)
    return TrainingData(cache, steps, None, arrays, batch_size)


def require_labels(data, name: str):
    """Check that the data of an argument has a label for each example; return some of them."""
    if isinstance(data, Iterator):
        raise TypeError(
            f"`{name}` is read again in every trial, so it cannot be an iterator: pass arrays, a "
            f"tf.data.Dataset or a PyDataset. Received: {type(data).__name__}"
        )
    whole = isinstance(data, tuple)
    inputs, labels = gather(data, None if whole else _SAMPLE)
    if labels is None:
        raise ValueError(
            f"`{name}` needs labels: (inputs, labels), or a dataset of such batches. "
            "Received: only inputs"
        )
    examples = count_examples(inputs)
    counts = [("labels", len(array)) for array in flattened(labels)]
    if whole and len(data) > len(("x", "y")):
        counts += [("sample weights", len(array)) for array in flattened(data[2])]
    for what, count in counts:
        if count != examples:
            raise ValueError(
                f"The number of {what} must equal the number of examples. Received: `{name}` with "
                f"{examples} examples and {count} {what}"
            )
    return labels


def require_classes(model: keras.Model, data, name: str) -> np.ndarray:
    """Check that the data of an argument has labels for a model's classes; return some of them."""
    labels = require_labels(data, name)
    if not isinstance(labels, np.ndarray):
        raise ValueError(
            f"`{name}` must have one array of labels, for the one output of a classifier; for "
            "several outputs pass `metric`. "
            f"Received: labels in a {type(labels).__name__}"
        )
    shape = getattr(model, "output_shape", None)
    if not (isinstance(shape, tuple) and len(shape) == 2 and (shape[1] or 0) > 1):
        raise ValueError(
            "A search compares accuracies, so the model must have one output of shape (examples, "
            "classes) with at least two classes. For other models pass `metric` and `loss`. "
            f"Received: model {model.name!r} with output shape {shape}"
        )
    classes = shape[1]
    if labels.ndim > 1 and labels.shape[-1] > 1:
        if labels.shape[-1] != classes:
            raise ValueError(
                f"Model {model.name!r} has {classes} classes. Received: `{name}` with one-hot "
                f"labels of {labels.shape[-1]} classes"
            )
        wrong = np.abs(labels.sum(-1) - 1) > _ROUNDING
        if wrong.any() or labels.min() < 0:
            raise ValueError(
                "A search compares accuracies, so each example must have one class: a class "
                "number, or a row that sums to 1; for several yes-or-no labels per example pass "
                f"`metric`, such as 'binary_accuracy'. Received: `{name}` with "
                f"{int(wrong.sum())} of {len(labels)} rows of labels that do not sum to 1, such as "
                f"{labels[wrong.argmax()].tolist()}"
            )
        return labels
    if labels.dtype.kind not in "iuf" or not (labels == np.floor(labels)).all():
        raise ValueError(
            f"Labels must be class numbers or one-hot rows. Received: `{name}` with labels of type "
            f"{labels.dtype}, such as {labels.ravel()[0]!r}"
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        raise ValueError(
            f"Model {model.name!r} has {classes} classes, numbered 0 to {classes - 1}. "
            f"Received: `{name}` with labels from {lowest} to {highest}"
        )
    return labels


def sample_inputs(data):
    """Return at most 256 inputs, to observe ranges, channels and sensitivities on.

    Of arrays, which may be sorted by class, evenly spaced ones; of a dataset the first.
    """
    if not isinstance(data, tuple):
        return as_called(gather(data, _SAMPLE)[0])
    return as_called(evenly_spaced(gather(data), _SAMPLE)[0])


def count_steps(data, batch_size: int) -> int:
    """Count the steps of an epoch; an endless or empty dataset is a ``ValueError``."""
    if isinstance(data, tuple):
        return -(-count_examples(data[0]) // batch_size)
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches
    steps = int(data.cardinality()) if isinstance(data, tf.data.Dataset) else len(data)
    if steps == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "The training dataset never ends, so an epoch has no length: limit it with "
            f"`take(number_of_batches)`. Received: {data}"
        )
    return steps if steps >= 0 else sum(1 for _ in data)
