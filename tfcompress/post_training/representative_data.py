"""Representative data as checked batches of a model's inputs."""

from collections.abc import Mapping

import keras
import numpy as np

from tfcompress.data import gather
from tfcompress.keras_graph.inputs import arrange_inputs, input_specs

_MAX_NUMBERS = 4_000_000  # per batch
_MIN_BATCH, _MAX_BATCH = 8, 128


def input_batches(model: keras.Model, data, max_examples: int) -> list:
    """Return batches of ``data``, in any form that ``fit`` accepts, as the model takes them.

    Raises ValueError if there is no data, or if its shape, type or values do not fit the model.
    """
    if data is None:
        raise ValueError(
            f"Model {model.name!r} needs representative data: pass a few hundred inputs like those "
            "in use; labels are not needed. Received: None"
        )
    if max_examples < 1:
        raise ValueError(
            f"`max_examples` must be at least 1. Received: max_examples={max_examples!r}"
        )
    specs = input_specs(model)
    inputs, _ = gather(data, max_examples)
    names = [spec.name for spec in specs]
    if isinstance(inputs, Mapping) and set(inputs) == set(names):
        inputs = [inputs[name] for name in names]
    arrays = list(inputs.values()) if isinstance(inputs, Mapping) else inputs
    if len(arrays) != len(specs):
        raise ValueError(
            f"Model {model.name!r} takes {len(specs)} inputs, {names}. Received: {len(arrays)}"
        )
    arrays = [_checked(array, spec, model) for array, spec in zip(arrays, specs, strict=True)]
    numbers = sum(array[0].size for array in arrays)
    size = int(np.clip(_MAX_NUMBERS // numbers, _MIN_BATCH, _MAX_BATCH))
    parts = -(-len(arrays[0]) // size)
    # Of nearly equal sizes: each size is traced separately.
    columns = [np.array_split(array, parts) for array in arrays]
    return [arrange_inputs(model, list(batch)) for batch in zip(*columns, strict=True)]


def _checked(array: np.ndarray, spec, model: keras.Model) -> np.ndarray:
    """Return an input in the model's type, checked."""
    expected = tuple(spec.shape[1:])
    if array.shape[1:] != expected or array.dtype.kind not in "biuf":
        raise ValueError(
            f"Input {spec.name!r} of model {model.name!r} takes numbers of the shape (examples, "
            f"{', '.join(map(str, expected))}). Received: {array.dtype} of shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(
            f"The data for input {spec.name!r} of model {model.name!r} holds NaN or infinite "
            "values. Remove these examples. "
            f"Received: {np.count_nonzero(~np.isfinite(array))} such values"
        )
    return array.astype(spec.dtype.as_numpy_dtype)
