"""Weights that are no numbers any more, found before a file is made of them."""

import keras
import numpy as np

from tfcompress.keras_graph.selection import walk_layers


def require_finite_weights(model: keras.Model) -> None:
    """Check that a training has not gone astray.

    Args:
        model: a built Keras model.

    Raises:
        ValueError: weights are NaN or infinite; the message names the layers that own them.
    """
    owners = {}
    for path, layer in walk_layers(model):  # sublayers come later, and own what is theirs
        owners.update(dict.fromkeys(map(id, layer.weights), path))
    lost = {
        owners.get(id(variable), variable.path): None
        for variable in model.weights
        if keras.backend.is_float_dtype(variable.dtype)
        and not np.isfinite(keras.ops.convert_to_numpy(variable).astype("float32")).all()
        and id(variable) in owners
    }
    if lost:
        raise ValueError(
            f"Model {model.name!r} has weights that are NaN or infinite, in these layers: "
            f"{', '.join(lost)}. Training has gone astray: look at the data and the learning rate, "
            "and go back to an earlier checkpoint."
        )
