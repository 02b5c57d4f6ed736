"""Looking at, and changing, the tensors that pass between the operations of a model.

A *tap* sits where a Keras operation hands out a tensor: at each output of each layer (or of each
operation of a Functional model), before the activation function inside a layer, and, in a graph,
at each output of each TensorFlow operation. Taps are found by running the model, so Sequential,
Functional, nested, shared and subclassed models are alike.
"""

import collections
import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable

import keras

from tfcompress.compat.keras_attributes import get_untracked, replaced_attributes
from tfcompress.keras_graph.inner_tensors import InnerTensors, unwatched
from tfcompress.keras_graph.interception import intercepted_calls
from tfcompress.keras_graph.selection import walk_layers
from tfcompress.keras_graph.wrapper import unwrap


@dataclasses.dataclass(frozen=True, order=True)
class TapPoint:
    """Where a tensor is handed out.

    Attributes:
        path: path of the layer or operation, see ``walk_layers``.
        role: "output", or the name of an inner tensor: "preactivation", one that the layer's form
            gives it, or "tf." and the type of the TensorFlow operation that makes it.
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
        if not _is_model(layer) and not isinstance(layer, keras.layers.InputLayer)
    ]
    seen = {id(layer) for _, layer in layers}
    for prefix, owner in [("", root), *((path + "/", layer) for path, layer in layers)]:
        for operation in getattr(owner, "operations", ()):
            if id(operation) not in seen:
                seen.add(id(operation))
                found.append((prefix + operation.name, operation))
    return found


def _is_model(layer):
    return isinstance(layer, keras.Model)


class TappedCalls:
    """A way of running a model in which a function sees, and may replace, every handed-out tensor.

    Args:
        model: the Keras model whose operations are tapped.
        forms: takes a layer, an operation or a model and returns the forms in which TensorFlow
            operations of its call are computed, see ``InnerTensors.within``; none when not given.

    Attributes:
        operations: the layers and operations that are tapped.
    """

    def __init__(self, model: keras.Model, forms: Callable | None = None):
        self._forms = forms or (lambda operation: {})
        operations = walk_operations(model)
        models = [("", unwrap(model))]
        models += [(path, layer) for path, layer in walk_layers(model) if _is_model(layer)]
        self._paths = {id(operation): path for path, operation in operations + models}
        self.operations = [operation for _, operation in operations]
        self._models = [inner for _, inner in models]

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
        inner = InnerTensors()
        tap = unwatched(tap)

        def tapped(operation, call):
            path = self._paths[id(operation)]

            def run(*args, **kwargs):
                number = calls[path]
                calls[path] += 1

                def inner_tap(role, tensor, **how):
                    tap_here = functools.partial(tap, TapPoint(path, role, number), **how)
                    return inner.once(tensor, tap_here)

                form = call if wrap is None else wrap(operation, call, inner_tap)
                with (
                    _named(operation),
                    inner.within(inner_tap, self._forms(operation)),
                    _tapped_activation(operation, inner_tap),
                ):
                    outputs = form(*args, **kwargs)
                flat = keras.tree.flatten(outputs)
                seen = {}
                for index, tensor in enumerate(flat):
                    if tensor is None:  # such as the scores that an attention layer leaves out
                        seen[id(tensor)] = None
                    elif id(tensor) not in seen:
                        here = functools.partial(tap, TapPoint(path, "output", number, index))
                        seen[id(tensor)] = inner.once(tensor, here)
                return keras.tree.pack_sequence_as(outputs, [seen[id(x)] for x in flat])

            return run

        def entered(model, call):
            path = self._paths[id(model)]

            def run(*args, **kwargs):
                number = calls[path]
                calls[path] += 1

                def inner_tap(role, tensor):
                    return tap(TapPoint(path, role, number), tensor)

                with inner.within(inner_tap, self._forms(model)):
                    outputs = call(*args, **kwargs)
                    return keras.tree.map_structure(
                        lambda tensor: None if tensor is None else inner.read(tensor), outputs
                    )

            return run

        with (
            intercepted_calls(self._models, entered),
            intercepted_calls(self.operations, tapped),
        ):
            yield


def _named(operation):
    """Let TensorFlow's operations carry the name of a bare operation, as they do a layer's."""
    if isinstance(operation, keras.Layer):
        return contextlib.nullcontext()
    return keras.name_scope(operation.name)


@contextlib.contextmanager
def _tapped_activation(operation, tap):
    """Offer what enters the activation function inside a layer, where there is one."""
    activation = get_untracked(operation, "activation")
    if not callable(activation) or activation is keras.activations.linear:
        yield
        return
    uses = itertools.count()

    def tapped(x, *args, **kwargs):
        number = next(uses)
        return activation(
            tap(f"preactivation_{number}" if number else "preactivation", x), *args, **kwargs
        )

    with replaced_attributes(operation, activation=tapped):
        yield
