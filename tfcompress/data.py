"""The data that ``fit`` takes, as inputs and labels: all of it as arrays, or batch by batch."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

_INFINITE = -1  # tf.data.INFINITE_CARDINALITY, without importing TensorFlow

Inputs = list[np.ndarray] | dict[str, np.ndarray]
Labels = np.ndarray | list | dict  # lists and dicts of arrays for several outputs


def gather(data: Any, max_examples: int | None = None) -> tuple[Inputs, Labels | None]:
    """Collect inputs, and labels where the data has them.

    Args:
        data: an array; a list of arrays, one per input; a dict of arrays by input name, or of dicts
            and lists of these; a tuple of one of these, or of a tuple of arrays, and labels; or
            batches: a tf.data.Dataset, a PyDataset, or any iterable, whose batches are inputs, or
            tuples of inputs, labels and weights; or a function that returns such batches.
        max_examples: how many examples to collect at most.

    Returns:
        (inputs, labels): arrays with one example per row; nested inputs become a list in the order
        in which Keras flattens them. Labels keep their structure, tuples as lists; None if there
        are none.

    Raises:
        TypeError: the data is none of the above.
        ValueError: there is no example, or the dataset never ends and ``max_examples`` is None.
    """
    if _is_whole(data):
        inputs, labels = _whole(data)
    else:
        if max_examples is None:
            require_end(data)
        inputs, labels = _joined(_batches(data), max_examples)
    if not count_examples(inputs):
        raise ValueError("At least one example is needed. Received: none")
    if max_examples is not None:
        inputs = first_examples(inputs, max_examples)
        labels = None if labels is None else first_examples(labels, max_examples)
    return inputs, labels


def iterate_inputs(data: Any, batch_size: int = 32) -> Iterator[Any]:
    """Yield the inputs of each batch in their own structure, without labels and weights.

    ``data`` is what ``gather`` takes, but not endless. Batches of a dataset keep their size.
    """
    require_end(data)
    if not _is_whole(data):
        for batch in _batches(data):
            yield batch[0] if isinstance(batch, tuple) else batch
        return
    inputs = data[0] if isinstance(data, tuple) else data
    for start in range(0, count_examples(inputs), batch_size):
        yield map_arrays(inputs, lambda array, start=start: array[start : start + batch_size])


class _Batches:
    """Batches to iterate over repeatedly; ``gather`` takes a plain list for one of inputs."""

    def __init__(self, batches: Iterable[Any]):
        self._batches = list(batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)


def reusable(data: Any) -> Any:
    """Return data that can be iterated over repeatedly: an iterator's batches are stored."""
    return _Batches(data) if isinstance(data, Iterator) else data


def first_examples(inputs: Any, count: int) -> Any:
    """Return the first examples of gathered inputs."""
    return map_arrays(inputs, lambda array: array[:count])


def evenly_spaced(examples: tuple[Inputs, Any], max_examples: int) -> tuple[Inputs, Any]:
    """Choose examples from the first to the last of gathered ones, which may be sorted by class."""
    inputs, labels = examples
    count = count_examples(inputs)
    rows = np.linspace(0, count - 1, min(max_examples, count)).astype(int)
    chosen = map_arrays(inputs, lambda array: array[rows])
    return chosen, None if labels is None else map_arrays(labels, lambda array: array[rows])


def count_examples(inputs: Any) -> int:
    """Return the number of examples in a batch, or in gathered inputs; 0 without any input."""
    return len(next(flattened(inputs), ()))


def flattened(arrays: Any) -> Iterator[Any]:
    """Yield the arrays in lists, tuples and dicts, in the order of TensorFlow and Keras."""
    if isinstance(arrays, Mapping):
        arrays = [arrays[name] for name in sorted(arrays)]
    if isinstance(arrays, list | tuple):
        for part in arrays:
            yield from flattened(part)
    else:
        yield arrays


def as_called(inputs: Inputs) -> np.ndarray | Inputs:
    """Return gathered inputs as a model is called with them: a single one without its list."""
    return inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else inputs


def map_arrays(inputs: Any, function: Callable[..., Any]) -> Any:
    """Apply a function to each array in lists, tuples and dicts; tuples become lists."""
    if isinstance(inputs, Mapping):
        return {name: map_arrays(part, function) for name, part in inputs.items()}
    if isinstance(inputs, list | tuple):
        return [map_arrays(part, function) for part in inputs]
    return function(inputs)


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
    if not isinstance(data, tuple):
        return _is_inputs(data)
    if not data:
        return False
    several = isinstance(data[0], tuple) and bool(data[0]) and all(map(_is_array, data[0]))
    return several or _is_inputs(data[0])


def _whole(data: Any) -> tuple[Inputs, Labels | None]:
    if isinstance(data, tuple):
        labels = data[1] if len(data) > 1 else None
        inputs = list(data[0]) if isinstance(data[0], tuple) else data[0]
        return _whole(inputs)[0], None if labels is None else as_labels(labels)
    if isinstance(data, Mapping) and all(_is_array(array) for array in data.values()):
        return {name: np.asarray(array) for name, array in data.items()}, None
    return [np.asarray(array) for array in flattened(data)], None


def as_labels(labels: Any) -> Labels:
    """Make arrays of labels, in the structure of the outputs that Keras takes it for."""
    if isinstance(labels, Mapping):
        return {name: as_labels(part) for name, part in labels.items()}
    arrays = isinstance(labels, list | tuple) and all(
        _is_array(part) and len(part.shape) for part in labels
    )
    return [np.asarray(part) for part in labels] if arrays and labels else np.asarray(labels)


def require_end(data: Any) -> None:
    """Raise ValueError for a dataset that never ends."""
    cardinality = getattr(data, "cardinality", None)  # of a tf.data.Dataset
    endless = (callable(cardinality) and int(cardinality()) == _INFINITE) or (
        _is_py_dataset(data) and data.num_batches is None
    )
    if endless:
        raise ValueError(
            "The dataset never ends, and reading all of it would take forever. Limit it, for "
            "example to 100 batches with `dataset.take(100)`, or remove `.repeat()`. "
            f"Received: an infinite {type(data).__name__}"
        )


def _is_py_dataset(data: Any) -> bool:
    return hasattr(data, "num_batches") and hasattr(data, "__getitem__")


def _batches(data: Any) -> Iterator[Any]:
    if _is_py_dataset(data):
        indices = itertools.count() if data.num_batches is None else range(data.num_batches)
        return (data[index] for index in indices)
    if callable(data) and not isinstance(data, Iterable):  # a generator function, as of TFLite
        return iter(data())
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise TypeError(
            "Data must be an array, a list or dict of arrays, a tuple of these and labels, or an "
            f"iterable of such batches. Received: {type(data).__name__}"
        )
    return iter(data)


def _joined(batches: Iterator[Any], max_examples: int | None) -> tuple[Inputs, Labels | None]:
    collected: list[Any] = []
    labels: list[Any] = []
    count = 0
    for batch in batches:
        if not _is_whole(batch):
            raise TypeError(f"A batch must hold arrays. Received: {type(batch).__name__}")
        inputs, batch_labels = _whole(batch)
        _require_rows(inputs, batch_labels)
        collected.append(inputs)
        labels.append(batch_labels)
        count += count_examples(inputs)
        if max_examples is not None and count >= max_examples:
            break
    if not collected:
        return [], None
    joined: Inputs
    if isinstance(collected[0], dict):
        joined = {name: np.concatenate([b[name] for b in collected]) for name in collected[0]}
    else:
        joined = [np.concatenate(column) for column in zip(*collected, strict=True)]
    unlabelled = any(batch_labels is None for batch_labels in labels)
    return joined, None if unlabelled else _concatenated(labels)


def _require_rows(inputs: Inputs, labels: Labels | None) -> None:
    """Check that the arrays of a batch have an axis for its examples."""
    given = inputs if labels is None else [inputs, labels]
    shapes = [array.shape for array in flattened(given)]
    if () in shapes:
        raise ValueError(
            "A batch has one example per row, and `dataset.batch(32)` makes batches of single "
            f"examples. Received: arrays of shapes {shapes}"
        )


def _concatenated(labels: list[Any]) -> Labels:
    """Join the labels of batches."""
    first = labels[0]
    if isinstance(first, dict):
        return {name: _concatenated([part[name] for part in labels]) for name in first}
    if isinstance(first, list):
        return [_concatenated(list(column)) for column in zip(*labels, strict=True)]
    return np.concatenate(labels)
