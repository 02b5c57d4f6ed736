"""Pixels that are scaled twice: by the user, and by a layer of the model."""

import warnings
from typing import Any

import keras
import numpy as np

from tfcompress.keras_graph.selection import walk_layers
from tfcompress.keras_graph.wrapper import unwrap

_OF_PIXELS = 1 / 50  # a layer that scales by less than that expects numbers up to 255


def largest_magnitude(inputs: Any) -> float:
    """Return the largest absolute value of a batch: an array, or a structure of some."""
    arrays = map(keras.ops.convert_to_numpy, keras.tree.flatten(inputs))
    return max(float(np.max(np.abs(array), initial=0)) for array in arrays)


def warn_of_scaled_pixels(model: keras.Model, largest: float, data_name: str) -> None:
    """Warn of data up to 1 for a model of one input that scales pixels itself.

    ``largest`` is the largest absolute value of the data, which warnings call ``data_name``.
    """
    if largest > 1 or len(getattr(unwrap(model), "inputs", None) or ()) != 1:
        return
    for path, layer in walk_layers(model):
        if isinstance(layer, keras.layers.Rescaling) and np.max(np.abs(layer.scale)) < _OF_PIXELS:
            warnings.warn(
                f"The {data_name} has no value beyond {largest:.3g}, and layer {path!r} of model "
                f"{model.name!r} scales pixels by {np.max(layer.scale):.3g}: what is scaled "
                "already is scaled twice. Pass pixels as in training, mostly from 0 to 255.",
                stacklevel=2,
            )
            return
