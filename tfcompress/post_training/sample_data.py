"""The data of a repair, checked before anything is done with it."""

from collections.abc import Mapping

import keras
import numpy as np

from tfcompress.data import gather
from tfcompress.keras_graph.inputs import arrange_inputs, input_specs

_NUMBERS = 4_000_000  # that enter the model at once
_SMALLEST, _LARGEST = 8, 128


def sample_batches(model: keras.Model, data, most: int) -> list:
    """Collect unlabelled examples, and arrange them as the model takes them.

    Args:
        model: a built model with declared inputs.
        data: whatever ``fit`` takes; labels are left out.
        most: how many examples at most.

    Returns:
        Batches in the structure of the model's inputs.

    Raises:
        TypeError: ``data`` is of no kind that ``fit`` takes.
        ValueError: there is no data, ``most`` is not positive, the number of inputs or their shape
            does not fit the model, or values are NaN or infinite.
    """
    if data is None:
        raise ValueError(
            f"Repairing model {model.name!r} takes inputs like those in use: pass some hundred; "
            "labels are not needed. Received: None"
        )
    if most < 1:
        raise ValueError(f"`most` counts examples, from 1. Received: most={most!r}")
    specs = input_specs(model)
    inputs, _ = gather(data, most)
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
    size = int(np.clip(_NUMBERS // numbers, _SMALLEST, _LARGEST))
    parts = -(-len(arrays[0]) // size)
    # As equal as can be: each size is traced anew.
    columns = [np.array_split(array, parts) for array in arrays]
    return [arrange_inputs(model, list(batch)) for batch in zip(*columns, strict=True)]


def _checked(array: np.ndarray, spec, model: keras.Model) -> np.ndarray:
    expected = tuple(spec.shape[1:])
    if array.shape[1:] != expected or array.dtype.kind not in "biuf":
        raise ValueError(
            f"Input {spec.name!r} of model {model.name!r} takes numbers of the shape (examples, "
            f"{', '.join(map(str, expected))}). Received: {array.dtype} of shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(
            f"The data for input {spec.name!r} of model {model.name!r} holds NaN or infinite "
            "values, from which nothing can be learnt about it. Leave those examples out. "
            f"Received: {np.count_nonzero(~np.isfinite(array))} such values"
        )
    return array.astype(spec.dtype.as_numpy_dtype)
