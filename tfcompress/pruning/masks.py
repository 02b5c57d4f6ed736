"""From scores to masks, and the constraint that keeps masked weights at zero.

A mask is boolean and has the shape of its kernel: True where the weight is kept.
"""

import base64

import keras
import numpy as np
from keras import ops


def count_masked(groups: int, sparsity: float) -> int:
    """Return how many of a kernel's weights, or groups of weights, are masked at a sparsity.

    The exact product rounded to the nearest integer, halves to the even one; but one always
    stays, so that no layer falls silent.

    Args:
        groups: the number of weights, or of groups that are masked together; at least 1.
        sparsity: in [0, 1).

    Example:
    >>> count_masked(16, 0.5), count_masked(10, 0.25), count_masked(4, 0.9)
    (8, 2, 3)
    """
    return min(round(groups * sparsity), groups - 1)


def smallest(scores: np.ndarray, count: int) -> np.ndarray:
    """Mark the ``count`` smallest scores; of equal scores, the first in memory order.

    Args:
        scores: any shape, without NaN.
        count: how many to mark, from 0 to the number of scores.

    Returns:
        A boolean array of the shape of ``scores`` with exactly ``count`` True.

    Example:
    >>> smallest(np.array([3.0, 1.0, 2.0, 1.0]), 2)
    array([False,  True, False,  True])
    """
    flat = scores.ravel()
    if count == 0:
        return np.zeros(scores.shape, dtype=bool)
    threshold = flat.min()
    # Weights masked before are all zero, and selection slows down tenfold among equal values.
    above = flat[flat > threshold]
    lowest = flat.size - above.size
    if count > lowest:
        threshold = np.partition(above, count - lowest - 1)[count - lowest - 1]
    marked = flat < threshold
    ties = np.flatnonzero(flat == threshold)
    marked[ties[: count - np.count_nonzero(marked)]] = True
    return marked.reshape(scores.shape)


def smallest_by_size(scores: np.ndarray, sizes: np.ndarray, total: int) -> np.ndarray:
    """Mark the groups with the smallest scores that together hold ``total`` weights.

    Groups are taken in the order of their scores, equal ones in memory order, for as long as that
    brings the sum of their sizes closer to ``total``: with groups of one weight it is exact.

    Args:
        scores: of shape (n,), without NaN; infinite for a group that must stay.
        sizes: the number of weights of each group, of shape (n,).
        total: the number of weights to mark.

    Returns:
        A boolean array of shape (n,).

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
    """Keep the weights outside a mask at zero, after applying the user's own constraint.

    Keras optimizers apply the constraint of a variable after each update, inside the compiled
    step. The mask is a variable, so a new one takes effect without tracing the step again. It
    takes one byte a weight, and is not one of the model's weights.

    Args:
        mask: boolean array of the shape of the variable, True where the weight is kept.
        constraint: the constraint that the variable had before, applied first; or None.

    Attributes:
        mask: the variable that holds the mask.
        constraint: as given.
        masked: the number of weights outside the mask.
        threshold: the smallest score that was kept at the last update of the mask; None before it.

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

    def __call__(self, w):
        """Return the constrained weights, zero outside the mask."""
        if self.constraint is not None:
            w = self.constraint(w)
        w = ops.convert_to_tensor(w)
        # A choice, not a product: a product would keep NaN and write negative zeros.
        return ops.where(self.mask, w, ops.zeros((), w.dtype))

    def get_config(self):
        """Return what rebuilds the constraint, the mask included, packed to a bit a weight."""
        mask = ops.convert_to_numpy(self.mask)
        return {
            "shape": list(mask.shape),
            "packed_mask": base64.b64encode(np.packbits(mask).tobytes()).decode("ascii"),
            "constraint": keras.constraints.serialize(self.constraint) if self.constraint else None,
        }

    @classmethod
    def from_config(cls, config):
        """Rebuild the constraint from its configuration."""
        bits = np.frombuffer(base64.b64decode(config["packed_mask"]), dtype=np.uint8)
        shape = config["shape"]
        mask = np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape)
        return cls(mask.astype(bool), constraint=config["constraint"])
