"""Running a deployed graph inside TensorFlow: on the integers of a device, or in float."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfcompress.quantization.deployed_graph import PROBABILITIES, DeployedGraph
from tfcompress.quantization.integers import GraphIntegers
from tfcompress.quantization.kernels.batches import completed
from tfcompress.quantization.kernels.elementwise import dequantize, quantize
from tfcompress.quantization.kernels.floating import FLOAT
from tfcompress.quantization.kernels.grids import Integers
from tfcompress.quantization.kernels.registry import (
    KERNEL_SETS,
    compute_float,
    compute_integers,
    has_integer_kernel,
)
from tfcompress.quantization.plan import Float
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.model import Operation


def missing_kernels(graph: DeployedGraph, kernels: str = "xnnpack") -> tuple[str, ...]:
    """Name the operations of a graph that cannot be run here, in float or on integers.

    Args:
        graph: the graph.
        kernels: a key of ``KERNEL_SETS``.

    Returns:
        The names, each once.
    """
    found = {}
    plan = graph.plan
    for operation in graph.model.subgraphs[0].operations:
        real = any(index in plan.tensors for index in (*operation.inputs, *operation.outputs))
        if real and operation.index not in plan.in_float:
            there = has_integer_kernel(operation.name, plan.dtype, kernels)
        else:
            there = operation.name in FLOAT
        if operation.custom or not there:
            found[operation.label] = None
    return tuple(found)


def run_integers(
    graph: DeployedGraph, numbers: GraphIntegers, inputs: Sequence, kernels: str
) -> tuple[list, dict[int, object]]:
    """Compute what a device computes.

    Args:
        graph: the graph; ``missing_kernels`` names none for it.
        numbers: what it is filled with.
        inputs: one tensor per input, of any batch size.
        kernels: a key of ``KERNEL_SETS``.

    Returns:
        (outputs, logits): the real numbers that the outputs mean, one tensor per output; and those
        that a softmax or a sigmoid has read, by the place of the output that it makes.
    """
    run = _Run(graph, numbers, kernels)
    return run.outputs(inputs), run.logits()


def probability_outputs(graph: DeployedGraph) -> dict[int, Operation]:
    """Return the operation behind each output that a softmax or a sigmoid makes, by its place."""
    file = graph.model.subgraphs[0]
    makers = {index: operation for operation in file.operations for index in operation.outputs}
    found = {place: makers.get(index) for place, index in enumerate(file.outputs)}
    return {
        place: maker
        for place, maker in found.items()
        if maker is not None and maker.name in PROBABILITIES
    }


def all_integers(
    graph: DeployedGraph, numbers: GraphIntegers, inputs: Sequence, kernels: str
) -> dict[int, Integers]:
    """Compute what a device computes, and return all of it.

    Args:
        graph: see ``run_integers``; as the other arguments.
        numbers: what it is filled with.
        inputs: one tensor per input.
        kernels: a key of ``KERNEL_SETS``.

    Returns:
        The integers of each tensor that has some, by its index.
    """
    return _Run(graph, numbers, kernels).all_integers(inputs)


def each_alone(
    graph: DeployedGraph,
    numbers: GraphIntegers,
    values: Mapping[int, Integers],
    kernels: str,
) -> dict[int, Integers]:
    """Compute each operation alone, on given values.

    Args:
        graph: the graph.
        numbers: what it is filled with.
        values: the integers of tensors that operations read, by the tensor's index.
        kernels: a key of ``KERNEL_SETS``.

    Returns:
        What each operation makes that has integers, by the tensor's index.
    """
    return _Run(graph, numbers, kernels).alone(values)


def run_float(graph: DeployedGraph, constants: Mapping[int, object], inputs: Sequence) -> list:
    """Compute what the float file does, with other weights.

    Args:
        graph: the graph.
        constants: the values of constants in place of the file's, by the tensor's index.
        inputs: one tensor per input, of any batch size.

    Returns:
        One tensor per output.
    """
    file = graph.model.subgraphs[0]
    values = dict(zip(file.inputs, inputs, strict=True))
    for operation in file.operations:
        read = [
            None if i < 0 else values[i] if i in values else _constant(graph, i, constants)
            for i in operation.inputs
        ]
        made = compute_float(completed(operation, file.tensors), read)
        values.update(zip(operation.outputs, made, strict=True))
    return [values[i] if i in values else _constant(graph, i, constants) for i in file.outputs]


def _constant(graph, index, constants):
    """Return the value of a constant."""
    if index in constants:
        return constants[index]
    value = constant_value(graph.model, graph.model.subgraphs[0].tensors[index])
    return tf.constant(value)


class _Run:
    """One run of a graph on integers."""

    def __init__(self, graph, numbers, kernels):
        self._graph, self._numbers, self._kernels = graph, numbers, kernels
        self._rounding = KERNEL_SETS[kernels].rounding
        self._file, self._plan = graph.model.subgraphs[0], graph.plan
        self._values: dict[int, object] = {}
        self._converted: dict[tuple, object] = {}

    def outputs(self, inputs):
        """Return the real outputs."""
        for index, tensor in zip(self._file.inputs, inputs, strict=True):
            self._values[index] = self._as_fed(index, tensor)
        for operation in self._file.operations:
            for index, value in zip(operation.outputs, self._run(operation), strict=True):
                self._values[index] = value
        return [self._real(self._value_of(index)) for index in self._file.outputs]

    def logits(self):
        """Return what the softmaxes and sigmoids of outputs have read, by the output's place."""
        return {
            place: self._real(self._read(operation, 0))
            for place, operation in probability_outputs(self._graph).items()
        }

    def alone(self, values):
        """Return what each operation makes of given values."""
        made = {}
        for operation in self._file.operations:
            self._values, self._converted = dict(values), {}
            for index, value in zip(operation.outputs, self._run(operation), strict=True):
                if isinstance(value, Integers):
                    made[index] = value
        return made

    def all_integers(self, inputs):
        """Return all integers of a run by the index of their tensor."""
        self.outputs(inputs)
        return {i: value for i, value in self._values.items() if isinstance(value, Integers)}

    def _as_fed(self, index, tensor):
        """Round an input as the file is fed."""
        grid = self._numbers.grids.get(self._plan.tensors.get(index, Float()))
        if grid is None:
            return tensor
        # Callers of an 8-bit file round halves away from zero, as the reference kernels do; files
        # with 16 bits take floats, and a kernel rounds them.
        real = tf.cast(tensor, tf.float32)
        rounding = "reference" if grid.dtype == "INT8" else self._rounding
        return Integers(quantize(None, [real], [grid], rounding)[0], grid)

    def _value_of(self, index):
        """Return a tensor in the form in which it is stored."""
        if index not in self._values:
            self._values[index] = _constant(self._graph, index, self._numbers.reals)
        return self._values[index]

    def _real(self, value):
        """Return the real numbers of a tensor."""
        if isinstance(value, Integers):
            return dequantize(None, [value], [None], self._rounding)[0]
        return value

    def _read(self, operation: Operation, position: int):
        """Return an input in the form in which an operation reads it."""
        index, place = operation.inputs[position], (operation.index, position)
        if index < 0:
            return None
        if place in self._numbers.constants:
            return self._numbers.constants[place]
        value = self._value_of(index)
        wanted = self._plan.reads.get(place)
        if wanted is None:
            return value
        key = index, wanted
        if key not in self._converted:
            grid = self._numbers.grids.get(wanted)
            if grid is None:
                self._converted[key] = self._real(value)
            else:
                integers = quantize(None, [value], [grid], self._rounding)[0]
                self._converted[key] = Integers(integers, grid)
        return self._converted[key]

    def _run(self, operation: Operation):
        """Run one operation."""
        read = [self._read(operation, position) for position in range(len(operation.inputs))]
        grids = [
            self._numbers.grids.get(self._plan.tensors.get(index, Float()))
            for index in operation.outputs
        ]
        made = compute_integers(
            completed(operation, self._file.tensors), read, grids, self._kernels
        )
        return [
            value if grid is None else Integers(value, grid)
            for value, grid in zip(made, grids, strict=True)
        ]
