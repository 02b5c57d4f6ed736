"""The data of ``fit`` as examples in a fixed order, and with a teacher's outputs for them."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

from tfcompress.backends import runs_on
from tfcompress.data import iterate_inputs
from tfcompress.hashing import hash_examples

if TYPE_CHECKING:
    import tensorflow as tf


class Taught(NamedTuple):
    """The x of taught batches: the student's inputs with the teacher's flattened signals."""

    inputs: Any
    outputs: tuple
    layers: dict


def is_dataset(data) -> bool:
    """Return whether data brings its own labels and batches."""
    return hasattr(data, "element_spec") or isinstance(data, keras.utils.PyDataset)


def input_batches(data, batch_size: int) -> Iterator:
    """Yield the inputs of each batch as arrays.

    ``data`` is a structure of input arrays, cut into batches of ``batch_size``, or a batched
    ``tf.data.Dataset`` or ``PyDataset`` of inputs or (x, y, sample_weight) tuples.
    """
    # A tuple of arrays is not taken for inputs and labels.
    for x in iterate_inputs(list(data) if isinstance(data, tuple) else data, batch_size):
        yield keras.tree.map_structure(np.asarray, x)


def input_hashes(data, batch_size: int) -> np.ndarray:
    """Return the hash of each example's inputs."""
    return np.concatenate(
        [np.zeros(0, np.uint64), *map(hash_examples, input_batches(data, batch_size))]
    )


def taught_batches(
    data, rows: Sequence[np.ndarray], split: Callable, *, batch_size: int, buffer: int, seed
):
    """Return the batches for ``fit`` whose x is ``Taught``, shuffled in each epoch.

    Args:
        data: a tuple of arrays (x, ...), or a batched dataset of such tuples.
        rows: arrays with a row for each example.
        split: takes some rows of each array, and returns outputs and layers.
        batch_size: the size of the batches.
        buffer: of how many examples the next one is drawn; 0 for the order of the data.
        seed: seed of the order.

    Returns:
        A ``tf.data.Dataset`` on TensorFlow, which prefetches; else a ``PyDataset``, for which the
        examples of a dataset are collected.
    """
    if runs_on("tensorflow"):
        return _prefetched(data, rows, split, batch_size, buffer, seed)
    if is_dataset(data):
        batches = [batch if isinstance(batch, tuple) else (batch,) for batch in data]
        data = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)
    return _TaughtBatches(data, rows, split, batch_size, bool(buffer), seed)


class _TaughtBatches(keras.utils.PyDataset):
    """Batches of arrays with what was looked up for them."""

    def __init__(self, arrays, rows, split, batch_size, shuffle, seed):
        super().__init__()
        self._arrays = keras.tree.map_structure(np.asarray, arrays)
        self._rows = rows
        self._split = split
        self._batch_size = batch_size
        self._order = np.arange(len(keras.tree.flatten(self._arrays)[0]))
        self._generator = np.random.default_rng(seed) if shuffle else None
        self.on_epoch_end()

    def __len__(self):
        return math.ceil(len(self._order) / self._batch_size)

    def __getitem__(self, index):
        chosen = self._order[index * self._batch_size :][: self._batch_size]
        x, *rest = keras.tree.map_structure(lambda array: array[chosen], self._arrays)
        return (Taught(x, *self._split([row[chosen] for row in self._rows])), *rest)

    def on_epoch_end(self):
        if self._generator is not None:
            self._generator.shuffle(self._order)


def _prefetched(data, rows, split, batch_size, buffer, seed):
    """Return taught batches as a tf.data.Dataset."""
    import tensorflow as tf  # not at the top: other backends run without it

    def look_up(index):
        found = tf.numpy_function(
            lambda wanted: [array[wanted] for array in rows],
            [index],
            [tf.as_dtype(array.dtype) for array in rows],
        )
        for tensor, array in zip(found, rows, strict=True):
            tensor.set_shape([None, *array.shape[1:]])
        return split(found)

    if is_dataset(data):
        dataset = _from_py_dataset(data) if isinstance(data, keras.utils.PyDataset) else data
        examples = dataset.map(lambda *element: (*element,)).unbatch().enumerate()

        def taught(index, batch):
            x, *rest = batch
            return (Taught(x, *look_up(index)), *rest)
    else:
        tensors = keras.tree.map_structure(tf.convert_to_tensor, data)
        examples = tf.data.Dataset.range(len(rows[0]))

        def taught(index):
            x, *rest = keras.tree.map_structure(lambda tensor: tf.gather(tensor, index), tensors)
            return (Taught(x, *look_up(index)), *rest)

    if buffer:
        examples = examples.shuffle(buffer, seed=seed)
    batches = examples.batch(batch_size).map(taught, tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)


def _from_py_dataset(data):
    """Return a PyDataset as a tf.data.Dataset of known length."""
    import tensorflow as tf  # not at the top: other backends run without it

    def spec(array):
        return tf.TensorSpec([None, *array.shape[1:]], array.dtype)

    return tf.data.Dataset.from_generator(
        lambda: (data[index] for index in range(len(data))),
        output_signature=keras.tree.map_structure(spec, data[0]),
    ).apply(tf.data.experimental.assert_cardinality(len(data)))


def seeded_views(
    data: "tf.data.Dataset", augment: Callable[[Any, Any], Any], views: int, seed: int = 0
) -> "tf.data.Dataset":
    """Augment each example in a fixed number of reproducible ways.

    Random augmentation gives new examples in every epoch, for which no teacher outputs can be
    cached. This gives ``views`` versions of every example, the same in each epoch.

    Args:
        data: a batched dataset of inputs or (x, y, sample_weight) tuples, in a fixed order.
        augment: takes the inputs of one example and a seed, an int32 tensor of shape (2,), as
            the functions ``tf.image.stateless_random_*`` do; returns augmented inputs.
        views: number of versions of each example, at least 1.
        seed: selects the augmentations.

    Returns:
        A dataset with ``views`` times the examples, batched like ``data``.

    Raises:
        ValueError: ``views`` is below 1.

    Example:
    >>> augmented = seeded_views(dataset, tf.image.stateless_random_flip_left_right, views=2)
    >>> cache = tfc.cache_teacher(teacher, augmented, "cache")
    >>> distiller = tfc.Distiller(student, cache)
    >>> distiller.compile("adam", loss)
    >>> distiller.fit(cache.attach(augmented), epochs=5)
    """
    if views < 1:
        raise ValueError(f"`views` must be at least 1. Received: views={views}")

    import tensorflow as tf  # not at the top: only these data need it

    fold_in = tf.random.experimental.stateless_fold_in

    def view(number):
        def augmented(index, batch):
            x, *rest = batch if isinstance(batch, tuple) else (batch,)
            batch_seed = fold_in([seed, number], tf.cast(index, tf.int32))
            positions = tf.range(tf.shape(keras.tree.flatten(x)[0])[0])
            views_of_x = tf.map_fn(
                lambda pair: augment(pair[0], fold_in(batch_seed, pair[1])),
                (x, positions),
                fn_output_signature=keras.tree.map_structure(
                    lambda tensor: tf.TensorSpec(tensor.shape[1:], tensor.dtype), x
                ),
            )
            return (views_of_x, *rest)

        return data.enumerate().map(augmented)

    dataset = view(0)
    for number in range(1, views):
        dataset = dataset.concatenate(view(number))
    return dataset
