"""Numbers that may change during training: weights and temperatures.

A schedule is a float, or any callable from a step to a scalar, such as those of
``keras.optimizers.schedules``.
"""

from collections.abc import Callable

import keras
import numpy as np

Schedule = float | Callable


def checked_schedule(name: str, value: Schedule, *, above: bool = False):
    """Return an argument called ``name``, whose first value must be at least, or above, 0."""
    if not callable(value) and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise TypeError(
            f"`{name}` must be a number or a callable from a step to a number, such as a "
            f"keras.optimizers.schedules object. Received: {name}={value!r}"
        )
    first = float(np.asarray(value(0) if callable(value) else value))
    if not np.isfinite(first) or first < 0 or (above and first == 0):
        bound = "above 0" if above else "at least 0"
        at = " at step 0" if callable(value) else ""
        raise ValueError(f"`{name}` must be finite and {bound}. Received: {name}={first:g}{at}")
    return value if callable(value) else float(value)


def value_at(schedule: Schedule, step):
    """Return the schedule's value at a step, as a float or a scalar tensor."""
    return keras.ops.cast(schedule(step), "float32") if callable(schedule) else schedule


def schedule_config(schedule: Schedule):
    """Return the float, or the serialized object."""
    return keras.saving.serialize_keras_object(schedule) if callable(schedule) else schedule


def schedule_from_config(config) -> Schedule:
    """Create a schedule from ``schedule_config``."""
    return keras.saving.deserialize_keras_object(config) if isinstance(config, dict) else config
