"""Numbers that may change over the steps of training: weights and temperatures.

A schedule is a float, or any callable from a step to a scalar: ``keras.optimizers.schedules``
already offers the usual ones, so this package defines none of its own.
"""

from collections.abc import Callable

import keras
import numpy as np

Schedule = float | Callable


def checked_schedule(name: str, value: Schedule, *, minimum: float = 0.0, above: bool = False):
    """Return a schedule after checking its first value.

    Args:
        name: the argument's name, for the error.
        value: a number, or a callable from a step (a scalar integer) to a scalar.
        minimum: the smallest value allowed.
        above: whether the minimum itself is refused.

    Returns:
        A float, or the callable itself.

    Raises:
        TypeError: ``value`` is neither a number nor a callable.
        ValueError: its value at step 0 is below the minimum, or is not finite.
    """
    if not callable(value) and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise TypeError(
            f"`{name}` must be a number or a callable from a step to a number, such as a "
            f"keras.optimizers.schedules object. Received: {name}={value!r}"
        )
    first = float(np.asarray(value(0) if callable(value) else value))
    if not np.isfinite(first) or first < minimum or (above and first == minimum):
        bound = f"above {minimum:g}" if above else f"at least {minimum:g}"
        at = " at step 0" if callable(value) else ""
        raise ValueError(f"`{name}` must be finite and {bound}. Received: {name}={first:g}{at}")
    return value if callable(value) else float(value)


def value_at(schedule: Schedule, step):
    """Return the schedule's value at a step, as a float or a scalar tensor."""
    return keras.ops.cast(schedule(step), "float32") if callable(schedule) else schedule


def schedule_config(schedule: Schedule):
    """Return what rebuilds a schedule: the float, or the serialised object."""
    return keras.saving.serialize_keras_object(schedule) if callable(schedule) else schedule


def schedule_from_config(config) -> Schedule:
    """Rebuild a schedule from ``schedule_config``."""
    return keras.saving.deserialize_keras_object(config) if isinstance(config, dict) else config
