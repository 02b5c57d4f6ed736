"""Looking at, and changing, the tensors that pass between the operations of a model.

A *tap* sits where a Keras operation hands out a tensor: at each output of each layer (or of each
operation of a Functional model) and before the activation function inside a layer. Taps are found
by running the model, so Sequential, Functional, nested, shared and subclassed models are alike.
"""

import collections
import contextlib
import dataclasses
from collections.abc import Callable

import keras

from tfcompress.graph.interception import intercepted_calls
from tfcompress.graph.selection import walk_layers
from tfcompress.graph.wrapper import unwrap


@dataclasses.dataclass(frozen=True, order=True)
class TapPoint:
    """Where a tensor is handed out.

    Attributes:
        path: path of the layer or operation, see ``walk_layers``.
        role: "output", or the name of an inner tensor such as "preactivation".
        call: 0 for the operation's first call in a run of the model, 1 for the next, and so on.
        index: position among the flattened outputs.
    """

    path: str
    role: str = "output"
    call: int = 0
    index: int = 0

    def __str__(self) -> str:
        suffix = "" if (self.call, self.index) == (0, 0) else f"[{self.call},{self.index}]"
        return f"{self.path}:{self.role}{suffix}"


Tap = Callable[[TapPoint, object], object]


def walk_operations(model: keras.Model) -> list[tuple[str, keras.Operation]]:
    """List what computes in a model: its layers, and the bare operations of Functional models.

    Args:
        model: a Keras model.

    Returns:
        (path, operation) pairs; models and input layers, which compute nothing themselves, are
        left out.
    """
    root = unwrap(model)
    layers = walk_layers(root)
    found = [
        (path, layer)
        for path, layer in layers
        if not isinstance(layer, keras.Model | keras.layers.InputLayer)
    ]
    seen = {id(layer) for _, layer in layers}
    for prefix, owner in [("", root), *((path + "/", layer) for path, layer in layers)]:
        for operation in getattr(owner, "operations", ()):
            if id(operation) not in seen:
                seen.add(id(operation))
                found.append((prefix + operation.name, operation))
    return found


class TappedCalls:
    """A way of running a model in which a function sees, and may replace, every handed-out tensor.

    Args:
        model: the Keras model whose operations are tapped.
    """

    def __init__(self, model: keras.Model):
        self._paths = {id(operation): path for path, operation in walk_operations(model)}
        self._operations = [operation for _, operation in walk_operations(model)]

    @contextlib.contextmanager
    def active(self, tap: Tap, wrap: Callable | None = None):
        """Offer every tensor to ``tap(point, tensor)`` while the block runs; use what it returns.

        Args:
            tap: takes a ``TapPoint`` and a tensor and returns a tensor of the same shape and dtype.
            wrap: further wrapping of each operation: takes (operation, call, tap) and returns the
                callable to use instead of ``call``; its ``tap(role, tensor)`` offers an inner
                tensor. The operation's own ``call`` when not given.
        """
        calls = collections.Counter()

        def tapped(operation, call):
            path = self._paths[id(operation)]

            def run(*args, **kwargs):
                number = calls[path]
                calls[path] += 1

                def inner_tap(role, tensor):
                    return tap(TapPoint(path, role, number), tensor)

                with _tapped_activation(operation, inner_tap):
                    inner = call
                    if wrap is not None:
                        inner = wrap(operation, call, inner_tap)
                    outputs = inner(*args, **kwargs)
                flat = [
                    tap(TapPoint(path, "output", number, index), tensor)
                    for index, tensor in enumerate(keras.tree.flatten(outputs))
                ]
                return keras.tree.pack_sequence_as(outputs, flat)

            return run

        with intercepted_calls(self._operations, tapped):
            yield


@contextlib.contextmanager
def _tapped_activation(operation, tap):
    """Offer what enters the activation function inside a layer, where there is one."""
    activation = operation.__dict__.get("activation")
    if not callable(activation) or activation is keras.activations.linear:
        yield
        return
    operation.__dict__["activation"] = lambda x, *args, **kwargs: activation(
        tap("preactivation", x), *args, **kwargs
    )
    try:
        yield
    finally:
        operation.__dict__["activation"] = activation
