"""Penalties that make weights small, and the rule that sets their strength for a target."""

import math

import keras
import numpy as np
from keras import ops


class SparsityRegularizer(keras.regularizers.Regularizer):
    """``strength * sum |w|``, or over groups ``strength * sum sqrt(size) * norm(group)``.

    The strength is a variable: a new one takes effect without tracing the step again.

    Args:
        strength: scalar variable.
        group_axes: None for single weights; else the axes that run within a group, such as all but
            the output axis for channels.
        regularizer: the regularizer that the variable had before, added; or None.

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
            # The norm has no gradient at zero: a group that is zero gets none.
            zero = square == 0
            norms = ops.sqrt(ops.where(zero, 1.0, square))
            norm = math.sqrt(size) * ops.sum(ops.where(zero, 0.0, norms))
        penalty = ops.convert_to_tensor(self._strength) * norm
        if self.regularizer is not None:
            penalty = penalty + ops.cast(self.regularizer(w), "float32")
        return penalty


def next_strength(strength, sparsity, target: float, gain: float):
    """Raise the strength of a penalty where a model is not sparse enough, lower it where it is.

    ``strength * exp(gain * (target - sparsity))``: the change is in proportion to the miss, and
    the strength stays positive.

    Args:
        strength: the present strength, a number or a scalar tensor.
        sparsity: the share of zeros found, in [0, 1]; likewise.
        target: the share asked for, in [0, 1).
        gain: how fast to react.

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
