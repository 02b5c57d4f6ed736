"""Reading the inputs out of whatever data ``fit`` takes."""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf


def iterate_inputs(data, batch_size: int = 32) -> Iterator:
    """Yield the inputs of a data set, batch by batch; labels and weights are left out.

    Args:
        data: an array, or a list or dict of arrays with one example per row; a batched
            ``tf.data.Dataset``, ``keras.utils.PyDataset`` or iterable of batches. A batch that is a
            tuple is (inputs, labels, ...), as in ``fit``.
        batch_size: rows per batch where ``data`` is made of arrays.

    Yields:
        The inputs of one batch.

    Raises:
        TypeError: ``data`` is none of the above.
    """
    if isinstance(data, tf.data.Dataset):
        batches = data
    elif isinstance(data, keras.utils.PyDataset):
        batches = (data[index] for index in range(data.num_batches))
    elif _is_array(data) or isinstance(data, list | dict):
        flat = keras.tree.flatten(data)
        if not flat or not all(_is_array(array) for array in flat):
            raise TypeError(_unsupported(data))
        rows = len(flat[0])
        batches = (
            keras.tree.map_structure(lambda array, i=start: array[i : i + batch_size], data)
            for start in range(0, rows, batch_size)
        )
    elif isinstance(data, str | bytes) or not hasattr(data, "__iter__"):
        raise TypeError(_unsupported(data))
    else:
        batches = data
    for batch in batches:
        yield batch[0] if isinstance(batch, tuple) else batch


def _is_array(value):
    return isinstance(value, np.ndarray | tf.Tensor)


def _unsupported(data):
    return (
        "Data must be an array, a list or dict of arrays, a tf.data.Dataset, a "
        f"keras.utils.PyDataset or an iterable of batches. Received: {type(data).__name__}"
    )
