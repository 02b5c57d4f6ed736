"""Hooks on the tensors between the TensorFlow operations inside a layer's call.

While a call is traced, an instance attribute replaces the graph's method that creates operations,
as in ``interception``. The hook of the innermost call gets an operation's output when another
operation reads it, and the reader gets what the hook returns: by then the gradient tape knows the
operation, and unused outputs are skipped.

Other backends of Keras have no such graph: there, and in eager calls, nothing is seen inside but
what a layer's own form hands out, see ``graph_roles``.
"""

import collections
import contextlib
import functools
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tfcompress.backends import graph_being_built, runs_eagerly, runs_on
from tfcompress.compat.keras_attributes import replaced_attributes
from tfcompress.compat.tensorflow_graphs import made_by

_PREFIX = "tf."
_thread = threading.local()

# Which of these Keras adds with depends on the batch size.
_KINDS = {"AddV2": "Add", "BiasAdd": "Add"}
_READS = frozenset({"Const", "ReadVariableOp"})
_NO_FORMS: Mapping[str, Callable] = types.MappingProxyType({})


def is_inner_role(role: str) -> bool:
    """Return whether a role is that of a TensorFlow operation: these exist only in graphs."""
    return role.startswith(_PREFIX)


def kind_of(role: str) -> str:
    """Return the type of the TensorFlow operation in the role of its tensor, which has others."""
    return role.removeprefix(_PREFIX).partition("_")[0]


def graph_roles(tap: Callable) -> Callable:
    """Return what offers tensors of one call to a tap where there is no graph that shows them.

    A layer's form calls it with the type of the TensorFlow operation that would make a tensor, in
    the order of TensorFlow's graph, and goes on with what it returns. The roles are those that
    ``InnerTensors`` gives, so points found on TensorFlow are met on any backend. ``of`` is what a
    function that is infinite at zero was computed of. On TensorFlow itself the tensor comes back.
    """
    if runs_on("tensorflow"):
        return lambda kind, tensor, **how: tensor
    counts: collections.Counter = collections.Counter()
    return lambda kind, tensor, **how: tap(_next_role(kind, counts), tensor, **how)


def _next_role(kind, counts):
    """Return the role of the next tensor that a type of operation makes, and count it."""
    kind = _KINDS.get(kind, kind)
    number = counts[kind]
    counts[kind] += 1
    return _PREFIX + kind + (f"_{number}" if number else "")


def unwatched(function: Callable) -> Callable:
    """Return a function whose own operations call no hooks: a hook itself, a rounding."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        with replaced_attributes(_thread, unwatched=True):
            return function(*args, **kwargs)

    return run


def as_computed(tensor):
    """Return the tensor that a hook was given, of the one that it returned: a form's operand."""
    computed = getattr(_thread, "computed", {})
    return computed[id(tensor)][1] if id(tensor) in computed else tensor


class InnerTensors:
    """Calls hooks on the outputs of TensorFlow operations in one traced run of a model.

    The role of a tensor is "tf.", the type of its operation, and from the second on its number
    among the operations of that type with float outputs in the call: "tf.Mul", "tf.Mul_1". A call
    has the same roles in training and in inference if it creates its operations in the same order.
    """

    def __init__(self):
        self._calls: list[tuple[Callable, Mapping[str, Callable], collections.Counter]] = []
        # By the id of a tensor, which is kept beside the rest so that the id stays its own.
        self._unread: dict[int, tuple[Any, str, Callable]] = {}
        self._changed: dict[int, tuple[Any, Any]] = {}
        self._computed: dict[int, tuple[Any, Any]] = {}
        self._replaced: dict[int, tuple[Any, Any]] = {}

    @contextlib.contextmanager
    def within(self, hook: Callable, forms: Mapping[str, Callable] = _NO_FORMS) -> Iterator[None]:
        """Call a hook on what is computed in a ``with`` block, except in blocks inside it.

        ``forms`` maps types of operations to lowerings: each takes an operation with one output and
        returns the same value computed by other operations, or None to keep the operation.
        """
        if runs_eagerly():
            yield
            return
        self._calls.append((hook, forms, collections.Counter()))
        try:
            with made_by(graph_being_built(), self._make):
                yield
        finally:
            self._calls.pop()
            _thread.computed = {}  # or the last graph would stay in memory

    def once(self, tensor, hook: Callable):
        """Return ``hook(tensor)``, called once per tensor: all later readers get the same."""
        tensor = self._in_its_form(tensor)
        if id(tensor) in self._changed:
            return self._changed[id(tensor)][1]
        seen = hook(tensor)
        if seen is not tensor and not runs_eagerly():
            self._changed[id(tensor)] = (tensor, seen)
            self._computed[id(seen)] = (seen, tensor)
        return seen

    def read(self, tensor):
        """Return the tensor that an operation reads in place of another."""
        tensor = self._in_its_form(tensor)
        unread = self._unread.pop(id(tensor), None)
        if unread is not None:
            _, role, hook = unread
            return self.once(tensor, functools.partial(hook, role))
        return self._changed[id(tensor)][1] if id(tensor) in self._changed else tensor

    def _in_its_form(self, tensor):
        return self._replaced[id(tensor)][1] if id(tensor) in self._replaced else tensor

    def _make(self, make, kind, inputs, *args, **kwargs):
        operation = make(kind, [self.read(tensor) for tensor in inputs], *args, **kwargs)
        if getattr(_thread, "unwatched", False):
            return operation
        hook, forms, counts = self._calls[-1]
        _thread.computed = self._computed
        form = forms[kind](operation) if kind in forms else None
        if form is not None:
            (output,) = operation.outputs
            self._replaced[id(output)] = (output, form)
            return operation
        if kind in _READS:
            return operation
        if kind == "Cast" and operation.inputs[0].dtype.is_floating:  # as in mixed precision
            return operation
        if not any(tensor.dtype.is_floating for tensor in operation.outputs):
            return operation
        role = _next_role(kind, counts)
        for index, tensor in enumerate(operation.outputs):
            if tensor.dtype.is_floating:
                name = f"{role}:{index}" if index else role
                self._unread[id(tensor)] = (tensor, name, hook)
        return operation
