"""TensorFlow graphs while they are traced, and as functions of functions."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

_HOOKS = "_tfcompress_hooks"


@contextlib.contextmanager
def made_by(graph: "tf.Graph", hook: Callable) -> Iterator[None]:
    """Let a hook make the operations that this thread adds to a graph that is being traced.

    It takes (make, kind, inputs, ...) and returns the operation; ``make(kind, inputs, ...)`` is
    what the graph does by itself. A distribution strategy traces its replicas in one graph, in
    threads that take turns.
    """
    hooks = getattr(graph, _HOOKS, None)
    if hooks is None:
        hooks = {}
        setattr(graph, _HOOKS, hooks)
        make = graph._create_op_internal

        def dispatch(kind: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            own = hooks.get(threading.get_ident())
            if own is None:
                return make(kind, inputs, *args, **kwargs)
            return own(make, kind, inputs, *args, **kwargs)

        graph._create_op_internal = dispatch
    thread = threading.get_ident()
    outer = hooks.get(thread)
    hooks[thread] = hook
    try:
        yield
    finally:
        if outer is not None:
            hooks[thread] = outer
        else:
            del hooks[thread]
        if not hooks:
            del graph._create_op_internal
            delattr(graph, _HOOKS)


def called_graph(operation: "tf.Operation", attribute: str) -> "tf.Graph | None":
    """Return the graph of the function that an operation's attribute, such as "body", names.

    None if the function is known by its definition alone.
    """
    called = operation.graph._get_function(operation.get_attr(attribute).name)
    return getattr(called, "graph", None)


def freeze_variables(function: Any) -> Any:
    """Return a concrete function with its variables as constants and called functions inlined."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    return convert_variables_to_constants_v2(function)
