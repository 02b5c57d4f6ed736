"""Functions that are infinite, or endlessly steep, at zero, to which rounding brings small numbers.

The kernels give the end of their output's range there. So does the rounding of any huge number,
which the range must not follow, nor the gradient see.
"""

import dataclasses
from collections.abc import Callable, Container

import numpy as np
import tensorflow as tf

from tfcompress.keras_graph.hooks import Hook, HookPoint

_HUGE = 1e9


@dataclasses.dataclass(frozen=True)
class _Pole:
    function: Callable
    at_zero: float


_POLES = {
    "Log": _Pole(tf.math.log, -_HUGE),
    "Rsqrt": _Pole(tf.math.rsqrt, _HUGE),
    "Sqrt": _Pole(tf.math.sqrt, 0.0),
}


def around_poles(tap: Hook, ranged: Container[HookPoint]) -> Hook:
    """Make what a tap is offered finite, and its gradient too.

    Args:
        tap: see ``ActivationTensors.tap``.
        ranged: the points that have a range.

    Returns:
        The tap to use in its place.
    """

    def guarded(point, tensor, **how):
        pole = _POLES.get(tensor.op.type) if tf.is_symbolic_tensor(tensor) else None
        if pole is None or point not in ranged:
            return tap(point, tensor, **how)
        (x,) = tensor.op.inputs
        is_zero = tf.equal(x, 0.0)
        # Chosen before and after: the gradient of what is not chosen would be zero times infinity.
        values = pole.function(tf.where(is_zero, tf.ones_like(x), x))
        at_zero = tf.constant(np.clip(pole.at_zero, x.dtype.min, x.dtype.max), x.dtype)
        how = {"observed": lambda: tf.where(is_zero, tf.zeros_like(values), values)} | how
        return tap(point, tf.where(is_zero, at_zero, values), **how)

    return guarded
