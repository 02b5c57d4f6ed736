"""From scores to masks, and the constraint that keeps masked weights at zero.

A mask is a boolean array of the kernel's shape: True where the weight is kept.
"""

import base64

import keras
import numpy as np
from keras import ops


def count_masked(groups: int, sparsity: float) -> int:
    """Return how many of a kernel's weights or groups of weights to mask; one always stays.

    Example:
    >>> count_masked(16, 0.5), count_masked(10, 0.25), count_masked(4, 0.9)
    (8, 2, 3)
    """
    return min(round(groups * sparsity), groups - 1)


def smallest(scores: np.ndarray, count: int) -> np.ndarray:
    """Mark the ``count`` smallest scores; ties go to the first in memory order.

    Example:
    >>> smallest(np.array([3.0, 1.0, 2.0, 1.0]), 2)
    array([False,  True, False,  True])
    """
    flat = scores.ravel()
    if count == 0:
        return np.zeros(scores.shape, dtype=bool)
    threshold = flat.min()
    # Weights masked before are all zero, and selection is ten times slower among equal values.
    above = flat[flat > threshold]
    lowest = flat.size - above.size
    if count > lowest:
        threshold = np.partition(above, count - lowest - 1)[count - lowest - 1]
    marked = flat < threshold
    ties = np.flatnonzero(flat == threshold)
    marked[ties[: count - np.count_nonzero(marked)]] = True
    return marked.reshape(scores.shape)


def smallest_by_size(scores: np.ndarray, sizes: np.ndarray, total: int) -> np.ndarray:
    """Mark the groups with the smallest scores whose sizes add up to ``total``, or close to it.

    Groups are taken in the order of their scores, shape (n,); infinite scores are never taken.

    Example:
    >>> smallest_by_size(np.array([1.0, 3.0, 2.0]), np.array([4, 4, 2]), 6)
    array([ True, False,  True])
    """
    if sizes.min() == sizes.max():
        free = int(np.count_nonzero(scores < np.inf))
        return smallest(scores, min(round(total / int(sizes[0])), free))
    order = np.argsort(scores, kind="stable")
    held = np.cumsum(np.concatenate([[0], sizes[order]]))
    taken = np.argmin(np.abs(held - total))
    marked = np.zeros(scores.shape, dtype=bool)
    marked[order[:taken]] = True
    return marked & (scores < np.inf)


@keras.saving.register_keras_serializable(package="tfcompress")
class MaskConstraint(keras.constraints.Constraint):
    """Keep masked weights at zero, after applying the user's own constraint.

    Keras optimizers apply the constraint of a variable after each update, inside the compiled
    step. The mask is a variable: a new mask takes effect without retracing. It takes one byte per
    weight and is not part of the model's weights.

    Args:
        mask: boolean array of the variable's shape, True where the weight is kept.
        constraint: the constraint to apply first; or None.

    Attributes:
        mask: the variable that holds the mask.
        constraint: as given.
        masked: the number of masked weights.
        threshold: the smallest score kept at the last update of the mask; None before it.

    Example:
    >>> diagonal = MaskConstraint(np.eye(3, dtype=bool))
    >>> layer = keras.layers.Dense(3, kernel_constraint=diagonal)
    """

    def __init__(self, mask, constraint=None):
        mask = np.asarray(mask, dtype=bool)
        self.mask = keras.Variable(
            lambda shape, dtype: ops.convert_to_tensor(mask, dtype),
            shape=mask.shape,
            dtype="bool",
            trainable=False,
            name="mask",
        )
        self.constraint = keras.constraints.get(constraint)
        self.masked = mask.size - int(np.count_nonzero(mask))
        self.threshold = None

    @property
    def state(self) -> dict[str, keras.Variable]:
        """The variables that the next step depends on, by name."""
        return {"mask": self.mask}

    def __call__(self, w):
        """Return the constrained weights, zero where masked."""
        if self.constraint is not None:
            w = self.constraint(w)
        w = ops.convert_to_tensor(w)
        # A choice, not a product: a product would keep NaN and write negative zeros.
        return ops.where(ops.convert_to_tensor(self.mask), w, ops.zeros((), w.dtype))

    def get_config(self):
        """Return the constructor arguments, the mask packed into bits."""
        mask = ops.convert_to_numpy(self.mask)
        return {
            "shape": list(mask.shape),
            "packed_mask": base64.b64encode(np.packbits(mask).tobytes()).decode("ascii"),
            "constraint": keras.constraints.serialize(self.constraint) if self.constraint else None,
        }

    @classmethod
    def from_config(cls, config):
        """Create the constraint from its config."""
        bits = np.frombuffer(base64.b64decode(config["packed_mask"]), dtype=np.uint8)
        shape = config["shape"]
        mask = np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape)
        return cls(mask.astype(bool), constraint=config["constraint"])
