"""Examples out of whatever data ``fit`` takes: all of them as arrays, or batch by batch."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

_INFINITE = -1  # tf.data.INFINITE_CARDINALITY, without importing TensorFlow

Inputs = list[np.ndarray] | dict[str, np.ndarray]


def gather(data: Any, most: int | None = None) -> tuple[Inputs, np.ndarray | None]:
    """Collect inputs, and labels where the data has them.

    Args:
        data: an array; a list of arrays, one an input; a dict of arrays by input name, or of dicts
            and lists of such; a tuple of one of these and labels; or batches: a tf.data.Dataset, a
            PyDataset, or any iterable, whose batches are inputs, or tuples of inputs, labels and
            weights.
        most: how many examples at most.

    Returns:
        (inputs, labels): arrays with an example a row, of nested inputs a list in the order in
        which Keras flattens them; labels are None if there are none.

    Raises:
        TypeError: the data is none of the above.
        ValueError: there is no example, or all are asked for of a dataset that never ends.
    """
    if _is_whole(data):
        inputs, labels = _whole(data)
    else:
        if most is None:
            _require_end(data)
        inputs, labels = _joined(_batches(data), most)
    rows = next(flattened(inputs), ())
    if not len(rows):
        raise ValueError("At least one example is needed. Received: none")
    if most is not None:
        inputs = _mapped(inputs, lambda array: array[:most])
        labels = None if labels is None else labels[:most]
    return inputs, labels


def iterate_inputs(data: Any, batch_size: int = 32) -> Iterator[Any]:
    """Yield the inputs of a data set, batch by batch; labels and weights are left out.

    Args:
        data: as ``gather`` takes it.
        batch_size: examples in a batch where the data is whole; batches keep their size.

    Yields:
        The inputs of a batch, in the structure that they came in.

    Raises:
        TypeError: the data is of no kind that ``gather`` takes.
        ValueError: it is a dataset that never ends.
    """
    _require_end(data)
    if not _is_whole(data):
        for batch in _batches(data):
            yield batch[0] if isinstance(batch, tuple) else batch
        return
    inputs = data[0] if isinstance(data, tuple) else data
    for start in range(0, len(next(flattened(inputs), ())), batch_size):
        yield _mapped(inputs, lambda array, start=start: array[start : start + batch_size])


def first_examples(inputs: Inputs, count: int) -> Inputs:
    """Return the first examples of gathered inputs."""
    return _mapped(inputs, lambda array: array[:count])


def flattened(arrays: Any) -> Iterator[Any]:
    """Yield arrays, in the order in which TensorFlow and Keras flatten what holds them.

    Args:
        arrays: an array, or lists, tuples and dicts of such.

    Yields:
        Each array, dicts in the order of their sorted keys.
    """
    if isinstance(arrays, Mapping):
        arrays = [arrays[name] for name in sorted(arrays)]
    if isinstance(arrays, list | tuple):
        for part in arrays:
            yield from flattened(part)
    else:
        yield arrays


def as_called(inputs: Inputs):
    """Return gathered inputs as a model is called with them: a single one without its list."""
    return inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else inputs


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and hasattr(value, "shape")


def _is_inputs(value: Any) -> bool:
    # A list that holds more than arrays is one of batches.
    flat = isinstance(value, list) and all(_is_array(array) for array in value)
    return flat or _is_array(value) or (isinstance(value, Mapping) and _holds_arrays(value))


def _holds_arrays(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    return _is_array(value) or (isinstance(value, list) and all(map(_holds_arrays, value)))


def _is_whole(data: Any) -> bool:
    return _is_inputs(data) or (isinstance(data, tuple) and bool(data) and _is_inputs(data[0]))


def _whole(data: Any) -> tuple[Inputs, np.ndarray | None]:
    if isinstance(data, tuple):
        labels = data[1] if len(data) > 1 else None
        return _whole(data[0])[0], None if labels is None else np.asarray(labels)
    if isinstance(data, Mapping) and all(_is_array(array) for array in data.values()):
        return {name: np.asarray(array) for name, array in data.items()}, None
    return [np.asarray(array) for array in flattened(data)], None


def _require_end(data: Any) -> None:
    """Raise ValueError for a dataset that never ends, which would be read for ever."""
    cardinality = getattr(data, "cardinality", None)  # of a tf.data.Dataset
    endless = (callable(cardinality) and int(cardinality()) == _INFINITE) or (
        _is_py_dataset(data) and data.num_batches is None
    )
    if endless:
        raise ValueError(
            "The data never ends, and all of it would be read. Take a part of it, "
            "`dataset.take(100)` for 100 batches, or leave `.repeat()` out. "
            f"Received: {type(data).__name__} without an end"
        )


def _is_py_dataset(data: Any) -> bool:
    return hasattr(data, "num_batches") and hasattr(data, "__getitem__")


def _batches(data: Any) -> Iterator[Any]:
    if _is_py_dataset(data):
        indices = itertools.count() if data.num_batches is None else range(data.num_batches)
        return (data[index] for index in indices)
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise TypeError(
            "Examples come as an array, a list or dict of arrays, a tuple of these and labels, or "
            f"as batches of them. Received: {type(data).__name__}"
        )
    return iter(data)


def _joined(batches: Iterator[Any], most: int | None) -> tuple[Inputs, np.ndarray | None]:
    collected, labels, count = [], [], 0
    for batch in batches:
        if not _is_whole(batch):
            raise TypeError(f"A batch is made of arrays. Received: {type(batch).__name__}")
        inputs, batch_labels = _whole(batch)
        collected.append(inputs)
        labels.append(batch_labels)
        count += len(next(flattened(inputs)))
        if most is not None and count >= most:
            break
    if not collected:
        return [], None
    if isinstance(collected[0], dict):
        joined = {name: np.concatenate([b[name] for b in collected]) for name in collected[0]}
    else:
        joined = [np.concatenate(column) for column in zip(*collected, strict=True)]
    unlabelled = any(batch_labels is None for batch_labels in labels)
    return joined, None if unlabelled else np.concatenate(labels)


def _mapped(inputs: Any, function) -> Any:
    if isinstance(inputs, Mapping):
        return {name: _mapped(part, function) for name, part in inputs.items()}
    if isinstance(inputs, list):
        return [_mapped(part, function) for part in inputs]
    return function(inputs)
