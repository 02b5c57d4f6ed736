"""The state of ranges that follow data: unseen, observed, or lost to NaN."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfcompress.keras_graph.hooks import HookPoint
from tfcompress.quantization.arithmetic.observers import NO_RANGE


def unseen(shape, dtype=None) -> tf.Tensor:
    """Return ranges of tensors that no data was seen of; a Keras initializer.

    Args:
        shape: (rows, 2).
        dtype: float type.

    Returns:
        Tensor of that shape.
    """
    return tf.tile(tf.constant([NO_RANGE], dtype), (shape[0], 1))


def are_observed(ranges: np.ndarray) -> bool:
    """Tell whether ranges, of shape (rows, 2), have seen data."""
    return not len(ranges) or not bool((ranges[:, 0] > ranges[:, 1]).all())


def require_observed(
    name: str, points: Sequence[HookPoint], ranges: np.ndarray, steps_follow: bool
) -> None:
    """Check that ranges can be computed with.

    Args:
        name: of the model.
        points: the tensor of each range.
        ranges: float array (rows, 2).
        steps_follow: whether trained step sizes start from the ranges.

    Raises:
        ValueError: no data was seen, or a tensor has been NaN or infinite; names the tensors.
    """
    if not are_observed(ranges):
        raise ValueError(
            f"Model {name!r} has not seen any data since it was made quantization-aware, "
            "so the ranges of its activations are unknown. Train it with `fit`, or call "
            "`calibrate(data)` on some inputs first"
            + (": trained steps start from them." if steps_follow else ".")
        )
    lost = [
        str(point)
        for point, ends in zip(points, ranges, strict=True)
        if not np.isfinite(ends).all()
    ]
    if lost:
        raise ValueError(
            f"Model {name!r} has met NaN or infinite values in training, so the ranges of "
            f"these tensors are lost: {', '.join(lost)}. Look at the data and the learning "
            "rate; go back to an earlier checkpoint, or call `calibrate(data)`."
        )
