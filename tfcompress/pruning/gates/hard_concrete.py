"""The hard concrete distribution: random gates in [0, 1] that are often exactly 0 or 1.

A sigmoid of a logit and of logistic noise is stretched beyond [0, 1] and cut off there, so that a
gate has a gradient and can be closed for good.

Source: Louizos, Welling and Kingma, "Learning sparse neural networks through L0 regularization",
2018, https://arxiv.org/abs/1712.01312.
"""

import math

import numpy as np
from keras import ops

TEMPERATURE = 2 / 3
LOW, HIGH = -0.1, 1.1
OPEN = 2.5  # a logit at which a gate is 1 without noise, and a step away from moving
_CRACK = 0.01


def sampled(logits, uniform):
    """Return gates under noise.

    Args:
        logits: float tensor of any shape.
        uniform: of the same shape, noise in (0, 1).
    """
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
    """Return how likely each gate is not 0 under noise.

    The mean over gates is the expected share of what is left: what L0 regularization penalizes.
    """
    return ops.sigmoid(logits - TEMPERATURE * math.log(-LOW / HIGH))


def settled(logits: np.ndarray, closed: np.ndarray) -> np.ndarray:
    """Return gates of which exactly some are closed.

    Args:
        logits: float array.
        closed: boolean array of the same shape.

    Returns:
        float32 array: 0 where closed. A gate that has to stay opens by a crack at least.

    Example:
    >>> settled(np.array([-2.5, -2.5, 0.0, 2.5]), np.array([True, False, False, False]))
    array([0.  , 0.01, 0.5 , 1.  ], dtype=float32)
    """
    gates = np.clip(1 / (1 + np.exp(-logits)) * (HIGH - LOW) + LOW, _CRACK, 1.0)
    return np.where(closed, 0.0, gates).astype(np.float32)


def _stretched(concrete):
    return ops.clip(concrete * (HIGH - LOW) + LOW, 0.0, 1.0)
