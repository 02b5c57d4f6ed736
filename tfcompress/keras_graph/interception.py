"""Changing what layers compute without changing the layers.

Keras calls a layer through its ``call`` attribute. While an interception is active an instance
attribute stands before the class's method; afterwards the layer is as it was. The training function
is traced once, so an interception costs nothing per step.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

import keras

from tfcompress.compat.keras_attributes import has_untracked, replaced_attributes
from tfcompress.compat.keras_layers import all_layers
from tfcompress.compat.keras_training import assign_directly

_thread = threading.local()


@contextlib.contextmanager
def intercepted_calls(
    operations: Iterable[keras.Operation],
    wrap: Callable[[keras.Operation, Callable], Callable],
) -> Iterator[None]:
    """Replace the ``call`` of each layer or operation for the duration of a ``with`` block."""
    with contextlib.ExitStack() as replaced:
        for operation in operations:
            call = wrap(operation, operation.call)
            replaced.enter_context(replaced_attributes(operation, call=call))
        yield


def is_intercepted(operations: Iterable[keras.Operation]) -> bool:
    """Return whether the call of any layer or operation is replaced: someone looks at it."""
    return any(has_untracked(operation, "call") for operation in operations)


@contextlib.contextmanager
def float32_computation(model: keras.Model) -> Iterator[None]:
    """Make a model that trains in mixed precision compute in float32, as its deployed form does."""
    policy = keras.DTypePolicy("float32")
    layers = [
        layer for layer in all_layers(model) if layer.compute_dtype in ("float16", "bfloat16")
    ]
    previous = [layer.dtype_policy for layer in layers]
    try:
        for layer in layers:
            layer.dtype_policy = policy
        yield
    finally:
        for layer, own in zip(layers, previous, strict=True):
            layer.dtype_policy = own


class VariableSwap(keras.StatelessScope):
    """A scope in which some variables read as given tensors; every other one keeps working.

    Unlike ``keras.StatelessScope``, an assignment to a variable inside the scope takes effect (the
    seed of a dropout, the statistics of a normalization), and an enclosing scope stays visible.
    """

    def __init__(self, swaps):
        super().__init__(state_mapping=swaps, initialize_variables=False)

    def add_update(self, update):
        """Assign to the variable itself, or record the update in the enclosing scope."""
        variable, value = update
        if self.original_scope is not None:
            self.original_scope.add_update(update)
        else:
            assign_directly(variable, value)

    def get_current_value(self, variable):
        """Return the tensor swapped in for a variable, here or in the enclosing scope."""
        value = super().get_current_value(variable)
        if value is None and self.original_scope is not None:
            value = self.original_scope.get_current_value(variable)
        return value


def deploying() -> AbstractContextManager[None]:
    """Trace models for their file while the block runs, in this thread."""
    return replaced_attributes(_thread, deploying=True)


def is_deploying() -> bool:
    """Return whether models are being traced for their file, in this thread."""
    return getattr(_thread, "deploying", False)
