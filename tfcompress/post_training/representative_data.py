"""Representative data as checked batches of a model's inputs."""

import keras
import numpy as np

from tfcompress.data import gather
from tfcompress.keras_graph.inputs import arrange_inputs, checked_inputs, input_specs

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
    inputs, _ = gather(data, max_examples)
    arrays = [
        array.astype(spec.dtype.as_numpy_dtype)
        for array, spec in zip(
            checked_inputs(model, inputs, "representative data", casting="unsafe"),
            input_specs(model),
            strict=True,
        )
    ]
    numbers = sum(array[0].size for array in arrays)
    size = int(np.clip(_MAX_NUMBERS // numbers, _MIN_BATCH, _MAX_BATCH))
    parts = -(-len(arrays[0]) // size)
    # Of nearly equal sizes: each size is traced separately.
    columns = [np.array_split(array, parts) for array in arrays]
    return [arrange_inputs(model, list(batch)) for batch in zip(*columns, strict=True)]
