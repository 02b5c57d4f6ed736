"""Hooks that observe and replace the tensors between the operations of a model.

A hook is called at each output of each layer (or of each operation of a Functional model), before
the activation function inside a layer, and, in a graph, at each output of each TensorFlow
operation. Hook points are found by running the model, so it works alike for Sequential, Functional,
nested, shared and subclassed models.
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
class HookPoint:
    """A tensor of a model."""

    path: str  # the path of the layer or operation, see ``walk_layers``
    # "output", or the name of an inner tensor: "preactivation", one that the layer's lowering
    # gives it, or "tf." and the type of the TensorFlow operation.
    role: str = "output"
    # 0 for the operation's first call in a run of the model, 1 for the next, and so on.
    call: int = 0
    index: int = 0  # the index among the flattened outputs

    def __str__(self) -> str:
        suffix = "" if (self.call, self.index) == (0, 0) else f"[{self.call},{self.index}]"
        return f"{self.path}:{self.role}{suffix}"


def input_point(index: int) -> HookPoint:
    """Name the model's own input of that index."""
    return HookPoint("", "input", 0, index)


Hook = Callable[[HookPoint, object], object]


def walk_operations(model: keras.Model) -> list[tuple[str, keras.Operation]]:
    """List (path, operation) of a model's layers and bare operations, without models and inputs."""
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


def nested_models(model: keras.Model) -> list[tuple[str, keras.Model]]:
    """List (path, model) of the models inside a model."""
    return [(path, layer) for path, layer in walk_layers(model) if _is_model(layer)]


def _is_model(layer):
    return isinstance(layer, keras.Model)


class HookedCalls:
    """Runs a model with a hook on every tensor of its layers and ``operations``."""

    def __init__(self, model: keras.Model, forms: Callable | None = None):
        self._forms = forms or (lambda operation: {})
        operations = walk_operations(model)
        models = [("", unwrap(model)), *nested_models(model)]
        self._paths = {id(operation): path for path, operation in operations + models}
        self.operations = [operation for _, operation in operations]
        self._models = [inner for _, inner in models]

    @contextlib.contextmanager
    def active(self, hook: Hook, wrap: Callable | None = None):
        """Replace every tensor by ``hook(point, tensor)`` in a ``with`` block.

        ``wrap(operation, call, hook)`` may wrap each call further; its ``hook(role, tensor)`` is
        for inner tensors, or functions that compute them where few are asked for.
        """
        calls = collections.Counter()
        inner = InnerTensors()
        hook = unwatched(hook)

        def hooked(operation, call):
            path = self._paths[id(operation)]

            def run(*args, **kwargs):
                number = calls[path]
                calls[path] += 1

                def inner_hook(role, tensor, **how):
                    hook_here = functools.partial(hook, HookPoint(path, role, number), **how)
                    return hook_here(tensor) if callable(tensor) else inner.once(tensor, hook_here)

                form = call if wrap is None else wrap(operation, call, inner_hook)
                with (
                    inner.within(inner_hook, self._forms(operation)),
                    _hooked_activation(operation, inner_hook),
                ):
                    outputs = form(*args, **kwargs)
                flat = keras.tree.flatten(outputs)
                seen = {}
                for index, tensor in enumerate(flat):
                    if tensor is None:  # such as the scores that an attention layer leaves out
                        seen[id(tensor)] = None
                    elif id(tensor) not in seen:
                        here = functools.partial(hook, HookPoint(path, "output", number, index))
                        seen[id(tensor)] = inner.once(tensor, here)
                return keras.tree.pack_sequence_as(outputs, [seen[id(x)] for x in flat])

            return run

        def entered(model, call):
            path = self._paths[id(model)]

            def run(*args, **kwargs):
                number = calls[path]
                calls[path] += 1

                def inner_hook(role, tensor):
                    return hook(HookPoint(path, role, number), tensor)

                with inner.within(inner_hook, self._forms(model)):
                    return keras.tree.map_structure(
                        lambda tensor: None if tensor is None else inner.read(tensor),
                        call(*args, **kwargs),
                    )

            return run

        with (
            intercepted_calls(self._models, entered),
            intercepted_calls(self.operations, hooked),
        ):
            yield


@contextlib.contextmanager
def _hooked_activation(operation, hook):
    """Call the hook on the input of the activation function inside a layer, if any."""
    activation = get_untracked(operation, "activation")
    if not callable(activation) or activation is keras.activations.linear:
        yield
        return
    uses = itertools.count()

    def hooked(x, *args, **kwargs):
        number = next(uses)
        role = f"preactivation_{number}" if number else "preactivation"
        return activation(hook(role, x), *args, **kwargs)

    with replaced_attributes(operation, activation=hooked):
        yield
