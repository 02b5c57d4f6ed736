"""The data of ``fit`` as examples in a fixed order."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfcompress.hashing import hash_examples


def as_batches(data, batch_size: int) -> tf.data.Dataset:
    """Turn data into a dataset of (x, ...) batches in a fixed order.

    Args:
        data: an array or a structure of arrays of inputs; or a batched ``tf.data.Dataset`` or a
            ``keras.utils.PyDataset`` of inputs or (x, y, sample_weight) tuples, as ``fit`` takes.
        batch_size: the size of the batches that arrays are cut into; datasets keep theirs.

    Returns:
        A dataset whose elements are tuples.

    Raises:
        ValueError: the data are endless.
    """
    if isinstance(data, keras.utils.PyDataset):
        dataset = _from_py_dataset(data)
    elif isinstance(data, tf.data.Dataset):
        dataset = data
    else:
        arrays = (as_structure(data),)
        dataset = tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size)
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "The teacher's outputs are kept for a finite number of examples, but the dataset is "
            "endless. Remove its `repeat()`, or add `take(number_of_batches)`. "
            f"Received: {dataset}"
        )
    return dataset.map(lambda *element: (*element,))


def is_dataset(data) -> bool:
    """Tell datasets, which bring their labels and batches, from arrays."""
    return isinstance(data, (tf.data.Dataset, keras.utils.PyDataset))


def as_structure(arrays):
    """Return arrays in a structure that ``tf.data`` keeps: it would stack a list."""
    return tuple(arrays) if isinstance(arrays, list) else arrays


def input_hashes(batches: tf.data.Dataset) -> Iterator:
    """Hash the inputs of each batch; see ``hash_examples``."""
    for batch in batches.map(lambda *element: element[0]).as_numpy_iterator():
        yield hash_examples(batch)


def seeded_views(
    data: tf.data.Dataset, augment: Callable[[Any, Any], Any], views: int, seed: int = 0
) -> tf.data.Dataset:
    """Augment each example in a fixed number of ways that can be produced again.

    Random augmentation gives other examples in every epoch, for which no teacher's outputs can be
    kept. With this one, each epoch has ``views`` versions of every example, always the same.

    Args:
        data: a batched dataset of inputs or (x, y, sample_weight) tuples, in a fixed order.
        augment: takes the inputs of one example and a seed, an int32 tensor of shape (2,), as
            the functions ``tf.image.stateless_random_*`` do; returns augmented inputs.
        views: how many versions of each example, at least 1.
        seed: chooses among the ways to augment.

    Returns:
        A dataset with ``views`` times the examples, batched as ``data`` is.

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

    fold_in = tf.random.experimental.stateless_fold_in

    def view(number):
        def augmented(index, batch):
            x, *rest = batch if isinstance(batch, tuple) else (batch,)
            batch_seed = fold_in([seed, number], tf.cast(index, tf.int32))
            positions = tf.range(tf.shape(keras.tree.flatten(x)[0])[0])
            views_of_x = tf.map_fn(
                lambda pair: augment(pair[0], fold_in(batch_seed, pair[1])),
                (x, positions),
                fn_output_signature=_example_spec(x),
            )
            return (views_of_x, *rest)

        return data.enumerate().map(augmented)

    dataset = view(0)
    for number in range(1, views):
        dataset = dataset.concatenate(view(number))
    return dataset


def _example_spec(batch):
    return keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape[1:], x.dtype), batch)


def _from_py_dataset(data):
    def spec(array):
        return tf.TensorSpec([None, *array.shape[1:]], array.dtype)

    return tf.data.Dataset.from_generator(
        lambda: (data[index] for index in range(len(data))),
        output_signature=keras.tree.map_structure(spec, data[0]),
    ).apply(tf.data.experimental.assert_cardinality(len(data)))
