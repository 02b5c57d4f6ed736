"""The tensors inside a call: what its TensorFlow operations hand to each other.

While a call is traced, the graph makes each of its operations; an instance attribute stands before
the graph's method that does, as in ``interception``. What an operation makes is offered to the tap
of the call at work as soon as another operation reads it, and the reader gets what the tap returns:
by then the gradient tape knows the operation, and what nobody reads is not looked at.
"""

import collections
import contextlib
import functools
import threading
import types
from collections.abc import Callable, Iterator, Mapping

import tensorflow as tf

from tfcompress.compat.tensorflow_graphs import made_by

_PREFIX = "tf."
_thread = threading.local()

# Which of these Keras adds with depends on the batch size.
_KINDS = {"AddV2": "Add", "BiasAdd": "Add"}
_READS = frozenset({"Const", "ReadVariableOp"})
_NO_FORMS: Mapping[str, Callable] = types.MappingProxyType({})


def is_inner_role(role: str) -> bool:
    """Tell whether a tap's role is that of a TensorFlow operation: these exist in graphs alone."""
    return role.startswith(_PREFIX)


def unwatched(function: Callable) -> Callable:
    """Return a function whose own operations are offered to no tap: a tap, a rounding."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        before = getattr(_thread, "unwatched", False)
        _thread.unwatched = True
        try:
            return function(*args, **kwargs)
        finally:
            _thread.unwatched = before

    return run


class InnerTensors:
    """Offers what TensorFlow operations make to the taps of the calls that they belong to.

    The role of a tensor is "tf.", the type of its operation, and the operation's number among those
    of its type in the call that make floats, from the second on: "tf.Mul", "tf.Mul_1". A call has
    the same roles in training and in inference if it makes its operations in the same order.

    An object serves one run of a model. Run eagerly, it offers nothing.
    """

    def __init__(self):
        self._calls: list[tuple[Callable, Mapping[str, Callable], collections.Counter]] = []
        # By the id of a tensor, which is kept beside the rest so that the id stays its own.
        self._unread: dict[int, tuple[tf.Tensor, str, Callable]] = {}
        self._changed: dict[int, tuple[tf.Tensor, tf.Tensor]] = {}
        self._replaced: dict[int, tuple[tf.Tensor, tf.Tensor]] = {}

    @contextlib.contextmanager
    def within(self, tap: Callable, forms: Mapping[str, Callable] = _NO_FORMS) -> Iterator[None]:
        """Offer what is made while the block runs, outside of further blocks in it, to a tap.

        Args:
            tap: takes (role, tensor); returns the tensor to go on with, of equal shape and dtype.
            forms: by the type of an operation with one output, what takes the operation and
                computes the same with others, or returns None to leave it as it is. What they make
                is offered in its place.
        """
        if tf.executing_eagerly():
            yield
            return
        self._calls.append((tap, forms, collections.Counter()))
        try:
            with made_by(tf.compat.v1.get_default_graph(), self._make):
                yield
        finally:
            self._calls.pop()

    def once(self, tensor, tap: Callable):
        """Return what ``tap(tensor)`` makes of a tensor, or what a tap made of it before.

        A tensor may be handed out more than once; every later reader gets the same in its place.
        """
        tensor = self._in_its_form(tensor)
        if id(tensor) in self._changed:
            return self._changed[id(tensor)][1]
        seen = tap(tensor)
        if seen is not tensor and not tf.executing_eagerly():
            self._changed[id(tensor)] = (tensor, seen)
        return seen

    def read(self, tensor):
        """Return what an operation that reads a tensor gets."""
        tensor = self._in_its_form(tensor)
        unread = self._unread.pop(id(tensor), None)
        if unread is not None:
            _, role, tap = unread
            return self.once(tensor, functools.partial(tap, role))
        return self._changed[id(tensor)][1] if id(tensor) in self._changed else tensor

    def _in_its_form(self, tensor):
        return self._replaced[id(tensor)][1] if id(tensor) in self._replaced else tensor

    def _make(self, make, kind, inputs, *args, **kwargs):
        operation = make(kind, [self.read(tensor) for tensor in inputs], *args, **kwargs)
        if getattr(_thread, "unwatched", False):
            return operation
        tap, forms, counts = self._calls[-1]
        form = forms[kind](operation) if kind in forms else None
        if form is not None:
            (output,) = operation.outputs
            self._replaced[id(output)] = (output, form)
            return operation
        if kind in _READS or _is_recast(kind, operation):
            return operation
        if not any(tensor.dtype.is_floating for tensor in operation.outputs):
            return operation
        kind = _KINDS.get(kind, kind)
        role = _PREFIX + kind + (f"_{counts[kind]}" if counts[kind] else "")
        counts[kind] += 1
        for index, tensor in enumerate(operation.outputs):
            if tensor.dtype.is_floating:
                offered_as = f"{role}:{index}" if index else role
                self._unread[id(tensor)] = (tensor, offered_as, tap)
        return operation


def _is_recast(kind, operation):
    """Tell whether an operation only changes the float type, as mixed precision does."""
    return kind == "Cast" and operation.inputs[0].dtype.is_floating
