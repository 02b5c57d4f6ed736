"""The data on which the ranges of activations are observed, checked before they are."""

from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np

from tfcompress.data import iterate_inputs
from tfcompress.quantization.tracing import input_specs

Samples = Callable[[str], Iterator[dict[str, np.ndarray]]]


def require_data(quantization, data) -> None:
    """Check that there is data to observe.

    Args:
        quantization: what asks for it.
        data: the data.

    Raises:
        ValueError: there is none.
    """
    if data is None:
        raise ValueError(
            f"quantization={quantization!r} observes the ranges of activations on data: pass "
            "`representative_data`, some hundred inputs like those in use. Received: None"
        )


def checked_samples(models: Mapping[str, keras.Model], data) -> Samples:
    """Make a source of samples, one example at a time.

    Args:
        models: the model of each signature.
        data: inputs, whatever ``fit`` takes: for all signatures, which then take the same inputs,
            or a dict of such by signature.

    Returns:
        A function that takes a signature's key and goes through its samples, inputs by name.

    Raises:
        ValueError: the data is empty; lacks a signature; or an input's number, shape or type does
            not fit, or holds values that are not finite. Every sample is checked here, before
            anything is converted.
    """
    sources = {key: _Source(models[key], data_of) for key, data_of in _by_key(models, data).items()}
    for source in sources.values():
        source.check()
    return lambda key: iter(sources[key])


def _by_key(models: Mapping[str, keras.Model], data) -> dict:
    if len(models) > 1 and isinstance(data, Mapping) and set(data) == set(models):
        return {key: data[key] for key in models}
    takes = {
        key: [(spec.name, tuple(spec.shape), spec.dtype.name) for spec in input_specs(model)]
        for key, model in models.items()
    }
    first, *others = takes
    for key in others:
        if takes[key] != takes[first]:
            raise ValueError(
                f"Signatures {first!r} and {key!r} take different inputs, {takes[first]} and "
                f"{takes[key]}: pass `representative_data` as a dict with an entry for each of "
                f"{list(models)}."
            )
    return dict.fromkeys(models, data)


class _Source:
    """One model's samples."""

    def __init__(self, model: keras.Model, data):
        self._model, self._data = model, data
        self._specs = input_specs(model)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for inputs in iterate_inputs(self._data):
            flat = self._in_order(inputs)
            for row in range(len(flat[0])):
                yield {
                    spec.name: array[row : row + 1].astype(spec.dtype.as_numpy_dtype)
                    for array, spec in zip(flat, self._specs, strict=True)
                }

    def check(self) -> None:
        batches = 0
        for inputs in iterate_inputs(self._data):
            flat = self._checked(inputs)
            if len(flat[0]):
                batches += 1
        if not batches:
            raise ValueError("The representative data is empty: some hundred inputs are needed.")

    def _in_order(self, inputs) -> list[np.ndarray]:
        names = [spec.name for spec in self._specs]
        if isinstance(inputs, Mapping) and set(inputs) == set(names):
            inputs = [inputs[name] for name in names]
        return [np.asarray(array) for array in keras.tree.flatten(inputs)]

    def _checked(self, inputs) -> list[np.ndarray]:
        flat = self._in_order(inputs)
        names = [spec.name for spec in self._specs]
        if len(flat) != len(names):
            raise ValueError(
                f"Model {self._model.name!r} takes {len(names)} inputs, {names}. "
                f"Received: representative data of {len(flat)}"
            )
        for array, spec in zip(flat, self._specs, strict=True):
            self._check_array(array, spec)
        if len({len(array) for array in flat}) > 1:
            raise ValueError(
                "Every input needs the same number of examples. Received: representative data of "
                f"shapes {[array.shape for array in flat]}"
            )
        return flat

    def _check_array(self, array: np.ndarray, spec) -> None:
        what = f"input {spec.name!r} of model {self._model.name!r}"
        expected = tuple(spec.shape[1:])
        if array.ndim == 0 or array.shape[1:] != expected:
            raise ValueError(
                f"The representative data for {what} needs the shape (examples, "
                f"{', '.join(map(str, expected))}). Received: {array.shape}"
            )
        wanted = spec.dtype.as_numpy_dtype
        if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, wanted, "same_kind"):
            raise ValueError(
                f"The representative data for {what} needs numbers that {np.dtype(wanted)} can "
                f"hold. Received: {array.dtype}"
            )
        if not np.isfinite(array).all():
            raise ValueError(
                f"The representative data for {what} holds NaN or infinite values, so no range "
                "can be observed on it."
            )
