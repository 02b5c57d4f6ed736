"""Proximal steps: what sparse optimization does to weights after each gradient step."""

import keras
from keras import ops


def soft_threshold(weights, threshold):
    """Move weights towards zero by a threshold; those within it become zero.

    This is the proximal operator of ``threshold * |w|``.

    Args:
        weights: tensor of any shape.
        threshold: non-negative scalar.

    Example:
    >>> soft_threshold(np.array([-3.0, 0.5, 2.0]), 1.0).numpy()
    array([-2.,  0.,  1.])

    Source: Daubechies, Defrise and De Mol, "An iterative thresholding algorithm", 2004 (ISTA).
    """
    return ops.sign(weights) * ops.maximum(ops.abs(weights) - threshold, 0.0)


class SoftThreshold(keras.constraints.Constraint):
    """Soft-threshold a variable after each update of an optimizer: the proximal step of ISTA.

    The threshold is the strength times the learning rate of the moment, schedules included.

    Args:
        strength: scalar variable, the weight of the L1 norm in the objective.
        optimizer: the optimizer whose learning rate counts.
        constraint: the constraint that the variable had before, applied first; or None.
    """

    def __init__(self, strength: keras.Variable, optimizer: keras.Optimizer, constraint=None):
        self._strength = strength
        self._optimizer = optimizer
        self.constraint = constraint

    def __call__(self, w):
        """Return the constrained weights, nearer to zero."""
        if self.constraint is not None:
            w = self.constraint(w)
        w = ops.convert_to_tensor(w)
        rate = ops.cast(self._optimizer.learning_rate, "float32")
        threshold = ops.convert_to_tensor(self._strength) * rate
        return soft_threshold(w, ops.cast(threshold, w.dtype))
