"""A model as a flat list of layer calls: which layer consumes what another one produces."""

import collections
import dataclasses
from collections.abc import Iterator

import keras

from tfcompress.keras_graph.channels.flow import is_graph, nodes_in_order, require_functional


@dataclasses.dataclass(frozen=True)
class LayerCall:
    """One call of a layer or operation; tensors are numbered."""

    path: str  # the layer's path, see ``walk_layers``
    layer: keras.Operation
    inputs: tuple[int, ...]  # the tensors that it reads
    outputs: tuple[int, ...]  # the tensors that it returns
    shapes: tuple[tuple[int | None, ...], ...]  # of its outputs, the batch included


class LayerCalls:
    """The calls of a Functional or Sequential model in execution order, nested models flattened."""

    def __init__(self, model: keras.Model):
        functional = require_functional(model)
        self._numbers: dict[int, int] = {}
        for number, tensor in enumerate(functional.inputs):
            self._numbers[id(tensor)] = number
        self._count = len(functional.inputs)
        self.calls: list[LayerCall] = list(self._run(functional, ""))
        self._returned = {self._numbers[id(tensor)] for tensor in functional.outputs}
        self._consumers: dict[int, list[LayerCall]] = {}
        self._producers: dict[int, LayerCall] = {}
        self._uses = collections.Counter(id(call.layer) for call in self.calls)
        for call in self.calls:
            self._producers.update(dict.fromkeys(call.outputs, call))
            for number in dict.fromkeys(call.inputs):
                self._consumers.setdefault(number, []).append(call)

    def _run(self, functional, prefix) -> Iterator[LayerCall]:
        """Yield the calls of a graph, and number its tensors."""
        for node in nodes_in_order(functional):
            operation, path = node.operation, prefix + node.operation.name
            read = tuple(self._numbers[id(tensor)] for tensor in node.input_tensors)
            if is_graph(operation):
                inner = require_functional(operation)
                self._numbers.update(zip(map(id, inner.inputs), read, strict=True))
                yield from self._run(inner, path + "/")
                made = [self._numbers[id(tensor)] for tensor in inner.outputs]
            else:
                made = [self._count + index for index in range(len(node.outputs))]
                self._count += len(made)
                shapes = tuple(tuple(tensor.shape) for tensor in node.outputs)
                yield LayerCall(path, operation, read, tuple(made), shapes)
            self._numbers.update(zip(map(id, node.outputs), made, strict=True))

    def is_called_once(self, layer: keras.Operation) -> bool:
        """Return whether a layer has one call, so that its weights serve one place alone."""
        return self._uses[id(layer)] == 1

    def is_output(self, tensor: int) -> bool:
        """Return whether a tensor is an output of the model."""
        return tensor in self._returned

    def consumers(self, tensor: int) -> list[LayerCall]:
        """Return the calls that read a tensor."""
        return self._consumers.get(tensor, [])

    def producer(self, tensor: int) -> LayerCall | None:
        """Return the call that returns a tensor; None for an input of the model."""
        return self._producers.get(tensor)
