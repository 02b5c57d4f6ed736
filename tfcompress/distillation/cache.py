"""The teacher's outputs on disk: training then costs no teacher forward pass."""

import pathlib
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfcompress.distillation import cache_store
from tfcompress.distillation.examples import as_batches, as_structure, input_hashes, is_dataset
from tfcompress.distillation.teacher import Signals, Teacher


class StaleCacheError(ValueError):
    """The cache belongs to another teacher, or to other examples."""


class Taught(NamedTuple):
    """Inputs together with what the teacher says of them: the x of an attached dataset.

    Attributes:
        inputs: the student's inputs.
        outputs: the teacher's outputs, flattened.
        layers: the outputs of the teacher's layers, by name.
    """

    inputs: Any
    outputs: tuple
    layers: dict


class TeacherCache(Teacher):
    """Outputs of a teacher that ``cache_teacher`` has stored.

    It serves as the ``teacher`` of a ``Distiller``; ``attach`` gives the dataset for ``fit``.

    Args:
        path: the folder.

    Raises:
        ValueError: the folder holds no cache, an incomplete or a damaged one.

    Example:
    >>> cache = cache_teacher(teacher, x, "cache")
    >>> distiller = tfc.Distiller(student, cache)
    >>> distiller.compile("adam", loss)
    >>> distiller.fit(cache.attach(x, y, batch_size=32), epochs=20)
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.manifest = cache_store.read_manifest(self.path)
        if self.manifest is None or not self.manifest.complete:
            state = self.manifest and f"{self.manifest.done} of {self.manifest.examples} examples"
            raise ValueError(
                "There is no complete teacher cache here; `cache_teacher` makes or completes one. "
                f"Received: path={str(path)!r} with {state or 'no manifest'}"
            )
        self._rows = cache_store.open_rows(self.path, self.manifest, "r")
        self.name = self.manifest.teacher_name
        self.heads = self.manifest.heads

    def attach(self, x, y=None, sample_weight=None, *, batch_size=32, shuffle=True, seed=None):
        """Make the dataset to give to ``fit``: each example with what the teacher says of it.

        The examples are compared with those that the teacher saw before anything is returned.

        Args:
            x: the data that were cached: arrays of inputs, or a batched dataset in its fixed order.
            y: the labels, where ``x`` is arrays.
            sample_weight: the sample weights, where ``x`` is arrays.
            batch_size: the size of the batches.
            shuffle: whether each epoch has an order of its own; or, for a dataset too large to
                hold, how many examples to choose the next one from.
            seed: an integer for the order.

        Returns:
            A ``tf.data.Dataset`` of batches whose x is ``Taught``.

        Raises:
            StaleCacheError: the examples are not those of the cache, or in another order.
            ValueError: ``y`` or ``sample_weight`` come with a dataset, which has its own.
        """
        batches = as_batches(x, batch_size)
        self.check_examples(batches)
        buffer = self.manifest.examples if shuffle is True else int(shuffle)
        if is_dataset(x):
            if y is not None or sample_weight is not None:
                raise ValueError(
                    "`y` and `sample_weight` belong to arrays; a dataset brings its own. Received: "
                    f"x={x!r} with y of type {type(y).__name__}"
                )
            return self._from_dataset(batches, batch_size, buffer, seed)
        if y is None and sample_weight is not None:
            raise ValueError(
                "`sample_weight` needs labels `y` beside it. Received: y=None, sample_weight of "
                f"type {type(sample_weight).__name__}"
            )
        arrays = tuple(as_structure(part) for part in (x, y, sample_weight) if part is not None)
        return self._from_arrays(arrays, batch_size, buffer, seed)

    def check_examples(self, batches) -> None:
        """Raise a ``StaleCacheError`` unless the batches hold the cached examples in order."""
        known = np.load(self.path / cache_store.HASHES, mmap_mode="r")
        check_hashes(known, np.concatenate(list(input_hashes(batches))))

    def signals(self, inputs, layers):
        """Refuse: without the row of an example in the data, there is nothing to say."""
        raise ValueError(
            "A teacher cache answers for the examples it knows, not for tensors. Give `fit` the "
            "dataset `cache.attach(x, y)`. Received: a batch without cached outputs"
        )

    def symbolic_signals(self, inputs, layers):
        """Return the specifications of the rows."""
        outputs, layers = self._with_layers(
            [tf.TensorSpec([None, *shape], self.manifest.dtype) for shape in self.manifest.shapes]
        )
        return Signals(outputs, layers, self.manifest.outputs)

    def check_layers(self, layers):
        """Raise a ``ValueError`` for a layer that was not cached."""
        for name in layers:
            if name not in self.manifest.layers:
                raise ValueError(
                    f"The cache does not hold the teacher's layer {name!r}. Cache again with "
                    f"`layers=[{name!r}, ...]`. Received: teacher_layer={name!r}, cached layers "
                    f"{self.manifest.layers}"
                )

    def fingerprint(self):
        """Return the cached teacher's."""
        return self.manifest.teacher

    def _from_arrays(self, arrays, batch_size, buffer, seed):
        tensors = keras.tree.map_structure(tf.convert_to_tensor, arrays)

        def gather(index):
            x, *rest = keras.tree.map_structure(lambda tensor: tf.gather(tensor, index), tensors)
            return (Taught(x, *self._look_up(index)), *rest)

        indices = tf.data.Dataset.range(self.manifest.examples)
        return _batched(indices, gather, batch_size, buffer, seed)

    def _from_dataset(self, batches, batch_size, buffer, seed):
        def with_rows(index, batch):
            x, *rest = batch
            return (Taught(x, *self._look_up(index)), *rest)

        return _batched(batches.unbatch().enumerate(), with_rows, batch_size, buffer, seed)

    def _look_up(self, index):
        rows = tf.numpy_function(
            lambda wanted: [array[wanted] for array in self._rows],
            [index],
            [tf.as_dtype(self.manifest.dtype)] * len(self._rows),
        )
        for row, shape in zip(rows, self.manifest.shapes, strict=True):
            row.set_shape([None, *shape])
        return self._with_layers(rows)

    def _with_layers(self, rows):
        count = len(rows) - len(self.manifest.layers)
        return tuple(rows[:count]), dict(zip(self.manifest.layers, rows[count:], strict=True))


def _batched(examples, finish, batch_size, buffer, seed):
    if buffer:
        examples = examples.shuffle(buffer, seed=seed)
    batches = examples.batch(batch_size).map(finish, tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)


def check_hashes(known: np.ndarray, found: np.ndarray) -> None:
    """Compare the hashes of cached examples with those of a dataset.

    Raises:
        StaleCacheError: they differ; the message says whether in number, in order or in content.
    """
    if len(known) == len(found) and np.array_equal(known, found):
        return
    if len(known) != len(found):
        problem = f"it holds {len(known)} examples, the dataset has {len(found)}"
    elif np.array_equal(np.sort(known), np.sort(found)):
        problem = "the dataset has its examples in another order"
    else:
        different = np.flatnonzero(known != found)
        problem = f"{len(different)} examples differ, the first at index {different[0]}"
    raise StaleCacheError(
        f"The teacher cache does not belong to this dataset: {problem}. Give the very data that "
        "were cached, in their order and before random augmentation, or cache again with "
        f"`overwrite=True`. Received: {len(found)} examples"
    )
