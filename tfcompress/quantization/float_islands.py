"""Layers that compute in float between layers that compute with integers.

The converter quantizes an operation whose inputs and outputs have ranges. What reads a tensor by
way of double precision reads the same numbers, but no range: it stays in float. These two casts are
a *barrier*. They are put before the layers that are to compute in float, tell those layers'
operations from the others in the file, and are taken out of it in the end.
"""

from collections.abc import Callable, Collection, Iterable

import keras
import tensorflow as tf

from tfcompress.graph.inner_tensors import unwatched
from tfcompress.tflite.editing import Editor
from tfcompress.tflite.model import Operation, Subgraph
from tfcompress.tflite.names import layer_behind, layer_scopes, match_layer


def keep_float(call: Callable) -> Callable:
    """Return a layer's call whose tensors enter through a barrier, so that it stays in float.

    Args:
        call: the layer's call.

    Returns:
        A callable that computes the same.
    """
    return with_inputs(call, lambda tensor: tf.cast(tf.cast(tensor, tf.float64), tensor.dtype))


def with_inputs(call: Callable, change: Callable) -> Callable:
    """Return a layer's call whose float tensors are changed before they enter.

    Args:
        call: the layer's call.
        change: takes a float tensor and returns one of the same shape and dtype.

    Returns:
        A callable with the arguments of ``call``.
    """

    @unwatched
    def pass_in(value):
        is_float = tf.is_tensor(value) and value.dtype.is_floating
        return change(value) if is_float else value

    def run(*args, **kwargs):
        args, kwargs = keras.tree.map_structure(pass_in, (args, kwargs))
        return call(*args, **kwargs)

    return run


def is_barrier(operation: Operation, graph: Subgraph) -> bool:
    """Tell whether an operation of a file is half of a barrier."""
    ends = (*operation.inputs, *operation.outputs)
    return operation.name == "CAST" and any(graph.tensors[i].dtype == "FLOAT64" for i in ends)


class FloatIslands:
    """The operations of a file that compute in float, and the tensors that lie at their borders.

    Args:
        graph: the file's main graph.
        in_float: paths of the layers that compute in float, which have barriers before them.
        paths: paths of all layers.
    """

    def __init__(self, graph: Subgraph, in_float: Collection[str], paths: Iterable[str]):
        self._graph, self._in_float, self._paths = graph, set(in_float), list(paths)
        behind_barrier: set[int] = set()
        self._operations: set[int] = set()
        for operation in graph.operations if self._in_float else ():
            if is_barrier(operation, graph):
                behind_barrier.update(operation.outputs)
                self._operations.add(operation.index)
            elif behind_barrier & set(operation.inputs) or self._is_inside(operation):
                self._operations.add(operation.index)
        self._fed = {*graph.inputs, *(i for o in self._computing() for i in o.outputs)}

    def needs_range(self, index: int) -> bool:
        """Tell whether a tensor is stored as integers: it is computed with or read by them."""
        readers = [o for o in self._graph.operations if index in o.inputs]
        if index in self._fed and readers:
            return any(o.index not in self._operations for o in readers)
        return index not in self._fed

    def layers(self) -> tuple[str, ...]:
        """List the paths of the layers behind the operations that compute in float."""
        names = (self._graph.tensors[o.outputs[0]].name for o in self._computing())
        return tuple(dict.fromkeys(layer_behind(name, self._paths) for name in names))

    def _computing(self):
        return [o for o in self._graph.operations if o.index in self._operations]

    def _is_inside(self, operation):
        name = self._graph.tensors[operation.outputs[0]].name
        matches = (match_layer(scope, self._paths) for scope in layer_scopes(name))
        return any(layer in self._in_float for layer in matches)


def without_barriers(content: bytes) -> bytes:
    """Take the barriers before float layers out of a file.

    Args:
        content: a .tflite file.

    Returns:
        A file that computes the same.
    """
    editor = Editor(content)
    graph = editor.model.subgraphs[0]
    passed: dict[int, int] = {}
    for operation in graph.operations:
        if is_barrier(operation, graph):
            passed[operation.outputs[0]] = passed.get(operation.inputs[0], operation.inputs[0])
    for record in editor.records:
        record.inputs = [passed.get(int(index), int(index)) for index in record.inputs]
    editor.remove_dead_operations()
    return editor.packed()
