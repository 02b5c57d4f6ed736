"""The data of ``fit`` as examples in a fixed order, identified by hashes."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfcompress.hashing import hash_examples


def as_batches(data, batch_size: int) -> tf.data.Dataset:
    """Return data as a dataset of (x, ...) batches in a fixed order.

    ``data`` is a structure of input arrays, cut into batches of ``batch_size``, or a batched
    ``tf.data.Dataset`` or ``PyDataset`` of inputs or (x, y, sample_weight) tuples.
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
            "A teacher cache needs a finite number of examples, but the dataset is endless. Remove "
            f"its `repeat()`, or add `take(number_of_batches)`. Received: {dataset}"
        )
    return dataset.map(lambda *element: (*element,))


def is_dataset(data) -> bool:
    """Return whether data brings its own labels and batches."""
    return isinstance(data, (tf.data.Dataset, keras.utils.PyDataset))


def as_structure(arrays):
    """Return arrays in a structure that ``tf.data`` keeps: it would stack a list."""
    return tuple(arrays) if isinstance(arrays, list) else arrays


def input_hashes(batches: tf.data.Dataset) -> Iterator:
    """Yield the hashes of each batch's inputs."""
    for batch in batches.map(lambda *element: element[0]).as_numpy_iterator():
        yield hash_examples(batch)


def seeded_views(
    data: tf.data.Dataset, augment: Callable[[Any, Any], Any], views: int, seed: int = 0
) -> tf.data.Dataset:
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


def _from_py_dataset(data):
    """Return a PyDataset as a tf.data.Dataset of known length."""

    def spec(array):
        return tf.TensorSpec([None, *array.shape[1:]], array.dtype)

    return tf.data.Dataset.from_generator(
        lambda: (data[index] for index in range(len(data))),
        output_signature=keras.tree.map_structure(spec, data[0]),
    ).apply(tf.data.experimental.assert_cardinality(len(data)))
