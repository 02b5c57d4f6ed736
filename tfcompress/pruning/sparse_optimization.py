"""Sparsity-inducing penalties and proximal steps, and the control of their strength."""

import math

import keras
import numpy as np
from keras import ops


class SparsityRegularizer(keras.regularizers.Regularizer):
    """``strength * sum |w|``, or over groups ``strength * sum sqrt(size) * norm(group)``.

    The scalar variable ``strength`` may change without retracing. ``group_axes`` are the axes
    within a group, such as all but the output axis; None for single weights. ``regularizer`` is
    the one that the variable had before, added to the penalty.

    Sources: Tibshirani, "Regression shrinkage and selection via the lasso", 1996; Yuan and Lin,
    "Model selection and estimation in regression with grouped variables", 2006.
    """

    def __init__(
        self,
        strength: keras.Variable,
        group_axes: tuple[int, ...] | None = None,
        regularizer: keras.regularizers.Regularizer | None = None,
    ):
        self._strength = strength
        self._group_axes = group_axes
        self.regularizer = regularizer

    def __call__(self, w):
        """Return the penalty, a scalar."""
        w = ops.cast(ops.convert_to_tensor(w), "float32")
        if self._group_axes is None:
            norm = ops.sum(ops.abs(w))
        else:
            size = math.prod(w.shape[axis] for axis in self._group_axes)
            square = ops.sum(ops.square(w), axis=self._group_axes)
            # The norm has no gradient at zero: a group of zeros gets none.
            zero = square == 0
            norms = ops.sqrt(ops.where(zero, 1.0, square))
            norm = math.sqrt(size) * ops.sum(ops.where(zero, 0.0, norms))
        penalty = ops.convert_to_tensor(self._strength) * norm
        if self.regularizer is not None:
            penalty = penalty + ops.cast(self.regularizer(w), "float32")
        return penalty


def next_strength(strength, sparsity, target: float, gain: float):
    """Update a penalty's strength: ``strength * exp(gain * (target - sparsity))``.

    Example:
    >>> next_strength(0.1, sparsity=0.5, target=0.5, gain=4.0)
    0.1
    """
    return strength * math.e ** (gain * (target - sparsity))


def root_mean_square(values: np.ndarray) -> float:
    """Return the root of the mean of the squares.

    Example:
    >>> root_mean_square(np.array([3.0, -4.0, 0.0, 0.0]))
    2.5
    """
    return float(np.sqrt(np.mean(np.square(values))))


def soft_threshold(weights, threshold):
    """Move weights towards zero by a threshold: the proximal operator of ``threshold * |w|``.

    Example:
    >>> soft_threshold(np.array([-3.0, 0.5, 2.0]), 1.0).numpy()
    array([-2.,  0.,  1.])

    Source: Daubechies, Defrise and De Mol, "An iterative thresholding algorithm", 2004 (ISTA).
    """
    return ops.sign(weights) * ops.maximum(ops.abs(weights) - threshold, 0.0)


class SoftThreshold(keras.constraints.Constraint):
    """Soft-threshold a variable after each optimizer update: the proximal step of ISTA.

    The threshold is ``strength``, a scalar variable, times the present learning rate of
    ``optimizer``. ``constraint``, the one that the variable had before, is applied first.
    """

    def __init__(self, strength: keras.Variable, optimizer: keras.Optimizer, constraint=None):
        self._strength = strength
        self._optimizer = optimizer
        self.constraint = constraint

    @property
    def state(self) -> dict[str, keras.Variable]:
        """The variables that the next step depends on, by name."""
        return {"strength": self._strength}

    def __call__(self, w):
        """Return the constrained weights, nearer to zero."""
        if self.constraint is not None:
            w = self.constraint(w)
        w = ops.convert_to_tensor(w)
        rate = ops.cast(self._optimizer.learning_rate, "float32")
        threshold = ops.convert_to_tensor(self._strength) * rate
        return soft_threshold(w, ops.cast(threshold, w.dtype))
