"""The hard concrete distribution: random gates in [0, 1] that are often exactly 0 or 1.

A sigmoid of a logit and logistic noise is stretched beyond [0, 1] and clipped, so that a gate has
a gradient and can close for good.

Source: Louizos, Welling and Kingma, "Learning sparse neural networks through L0 regularization",
2018, https://arxiv.org/abs/1712.01312.
"""

import math

import numpy as np
from keras import ops

TEMPERATURE = 2 / 3
LOW, HIGH = -0.1, 1.1
OPEN = 2.5  # a logit at which a gate is 1 without noise and still has a gradient
_SMALLEST_OPEN = 0.01


def sampled(logits, uniform):
    """Return gates under noise; ``uniform`` in (0, 1) has the shape of the logits."""
    noise = ops.log(uniform) - ops.log(1.0 - uniform)
    return _stretched(ops.sigmoid((logits + noise) / TEMPERATURE))


def without_noise(logits):
    """Return the gates of the deployed model.

    Example:
    >>> without_noise(np.array([-2.5, 0.0, 2.5])).numpy()
    array([0. , 0.5, 1. ])
    """
    return _stretched(ops.sigmoid(logits))


def open_probability(logits):
    """Return the probability that each gate is not 0 under noise: what L0 regularization sums."""
    return ops.sigmoid(logits - TEMPERATURE * math.log(-LOW / HIGH))


def final_gates(logits: np.ndarray, closed: np.ndarray) -> np.ndarray:
    """Return float32 gates that are 0 exactly where ``closed`` is True.

    Example:
    >>> final_gates(np.array([-2.5, -2.5, 0.0, 2.5]), np.array([True, False, False, False]))
    array([0.  , 0.01, 0.5 , 1.  ], dtype=float32)
    """
    gates = np.clip(1 / (1 + np.exp(-logits)) * (HIGH - LOW) + LOW, _SMALLEST_OPEN, 1.0)
    return np.where(closed, 0.0, gates).astype(np.float32)


def _stretched(concrete):
    """Stretch values in (0, 1) beyond the interval and clip them to it."""
    return ops.clip(concrete * (HIGH - LOW) + LOW, 0.0, 1.0)
