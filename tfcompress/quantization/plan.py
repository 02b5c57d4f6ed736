"""Which numbers each tensor of a float file becomes under a scheme: decided from structure alone.

A tensor that integer kernels make or read has a *grid*: a range that is learned or calibrated, the
fixed one of the operation that makes it, or that of a table that it is looked up in. Tensors
between which kernels only copy have one grid together. What the kernels cannot compute with
integers stays in float, with the reason.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tfcompress.quantization.scheme import Scheme
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.model import Operation, Subgraph, TFLiteModel
from tfcompress.tflite.operations import Support, runs_with, support, weight_types

# With float activations, smaller kernels are not worth the time that quantizing inputs takes.
_SMALLEST_DYNAMIC = 1024
_LOOKUPS = {"GATHER": 0, "EMBEDDING_LOOKUP": 1}  # and where they read their table

Place = tuple[int, int]  # an operation of the graph, and the position of one of its inputs


@dataclasses.dataclass(frozen=True)
class Learned:
    """A grid whose range is learned or calibrated: a row of the ranges."""

    row: int


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A grid that the operation defines."""

    scale: float
    zero_point: int


@dataclasses.dataclass(frozen=True)
class OfTable:
    """The grid of the table that a tensor is looked up in."""

    place: Place


@dataclasses.dataclass(frozen=True)
class Float:
    """No grid: the tensor stays in float."""


Numbers = Learned | Fixed | OfTable | Float


@dataclasses.dataclass(frozen=True)
class KernelNumbers:
    """How a kernel is stored.

    Attributes:
        bits: 16 for half-precision floats, otherwise those of its integers.
        axis: the axis of the file's kernel that scales run along, None for one scale.
    """

    bits: int
    axis: int | None


@dataclasses.dataclass(frozen=True)
class Plan:
    """The numbers of a graph.

    Attributes:
        dtype: the type of stored activations, "INT8" or "INT16"; None if they stay floats.
        symmetric: whether the zero point of learned grids is 0.
        tensors: how each real-valued tensor that is computed or fed is stored, by its index.
        rows: for each learned grid, the tensors that have it, in the order of the graph.
        reads: the form in which an operation reads a tensor, where it is not the stored one.
        kernels: how the kernel at a place is stored.
        biases: the places of biases, each with the places of the data and the kernel whose scales
            make its own.
        constants: the grid of any other constant that an integer operation reads; None for the grid
            of its own values.
        in_float: for each real-valued operation that computes in float, why.
    """

    dtype: str | None
    symmetric: bool
    tensors: Mapping[int, Numbers]
    rows: Sequence[Sequence[int]]
    reads: Mapping[Place, Numbers]
    kernels: Mapping[Place, KernelNumbers]
    biases: Mapping[Place, tuple[Place, Place]]
    constants: Mapping[Place, Numbers | None]
    in_float: Mapping[int, str]

    def form(self, operation: Operation, position: int) -> Numbers:
        """Return the form in which an operation reads one of its inputs."""
        index = operation.inputs[position]
        return self.reads.get((operation.index, position), self.tensors.get(index, Float()))


FLOAT_PLAN = Plan(None, False, {}, (), {}, {}, {}, {}, {})


def make_plan(
    model: TFLiteModel,
    scheme: Scheme,
    schemes: Mapping[int, Scheme | None],
) -> Plan:
    """Decide on the numbers of a float file's main graph.

    Args:
        model: the file.
        scheme: the numerics of activations.
        schemes: by the index of an operation, the numerics of its weights where they are not those
            of ``scheme``; None for an operation that computes in float.

    Returns:
        The plan.

    Example:
    >>> make_plan(read_model(float_file), Scheme.int8(), {}).in_float
    {}
    """
    if scheme.activation_bits is None:
        return _weights_alone(model, scheme, schemes)
    return _Planner(model, scheme, schemes).plan()


def _weights_alone(model, scheme, schemes):
    """Plan a file whose activations stay floats."""
    graph = model.subgraphs[0]
    kernels = {}
    for operation in graph.operations:
        own = schemes.get(operation.index, scheme)
        if own is None:
            continue
        if own.weight_bits == 16:
            for position, index in enumerate(operation.inputs):
                if _is_real_constant(graph, index) and graph.tensors[index].shape:
                    kernels[operation.index, position] = KernelNumbers(16, None)
            continue
        entry = support(operation.name)
        if entry is None or entry.kernel is None or "INT8" not in entry.weights.get("FLOAT32", ()):
            continue
        index = operation.inputs[entry.kernel]
        if not _is_real_constant(graph, index):
            continue
        if np.prod(graph.tensors[index].shape) >= _SMALLEST_DYNAMIC:
            axis = _scale_axis(entry, operation, own, "FLOAT32")
            kernels[operation.index, entry.kernel] = KernelNumbers(8, axis)
    return Plan(None, False, {}, (), {}, kernels, {}, {}, {})


def _is_real_constant(graph: Subgraph, index: int) -> bool:
    """Tell whether an input is a constant of floats."""
    return index >= 0 and graph.tensors[index].constant and graph.tensors[index].dtype == "FLOAT32"


def _scale_axis(entry: Support, operation: Operation, scheme: Scheme, activations: str):
    """Return the axis along which a kernel has a scale for each channel, None if it has one."""
    if not scheme.per_channel_weights or activations not in entry.per_channel:
        return None
    if operation.name in ("FULLY_CONNECTED", "BATCH_MATMUL") and not scheme.dense_per_channel:
        return None
    return entry.channel_axis


class _Planner:
    """Goes through a graph once, in the order in which it runs."""

    def __init__(self, model, scheme, schemes):
        self._model, self._graph = model, model.subgraphs[0]
        self._scheme, self._schemes = scheme, schemes
        self._dtype = f"INT{scheme.activation_bits}"
        self._in_float: dict[int, str] = {}
        self._parent: dict[int, int] = {}
        self._defined: dict[int, Numbers] = {}  # by the root of a group
        self._requantized: set[Place] = set()

    def plan(self) -> Plan:
        """Return the plan."""
        graph = self._graph
        for index in graph.inputs:
            if self._is_real(index):
                self._parent[index] = index
        for operation in graph.operations:
            self._meet(operation)
        readers = {}
        for operation in graph.operations:
            for index in operation.inputs:
                readers.setdefault(index, []).append(operation)
        stored_in_float = {
            index
            for operation in graph.operations
            if operation.index in self._in_float
            for index in operation.outputs
        }
        stored_in_float |= {
            index
            for index in graph.inputs
            if readers.get(index) and all(o.index in self._in_float for o in readers[index])
        }
        needed = {
            index
            for index in self._parent
            if index not in stored_in_float
            or any(o.index not in self._in_float for o in readers.get(index, ()))
        }
        grids, rows = self._number(sorted(needed, key=self._order()))
        tensors = {
            index: Float() if index in stored_in_float or index not in grids else grids[index]
            for index in self._parent
        }
        reads, kernels, biases, constants = {}, {}, {}, {}
        for operation in graph.operations:
            in_float = operation.index in self._in_float
            for position, index in enumerate(operation.inputs):
                place = operation.index, position
                if index not in self._parent:
                    continue
                wanted = Float() if in_float else grids[index]
                if place in self._requantized:
                    wanted = grids[operation.outputs[0]]
                if wanted != tensors[index]:
                    reads[place] = wanted
            if not in_float:
                self._constants(operation, grids, kernels, biases, constants)
        return Plan(
            self._dtype,
            self._scheme.symmetric_activations,
            tensors,
            rows,
            reads,
            kernels,
            biases,
            constants,
            self._in_float,
        )

    def _order(self):
        """Return a key that sorts tensors in the order in which they come to be."""
        order = {index: place for place, index in enumerate(self._graph.inputs)}
        for operation in self._graph.operations:
            for index in operation.outputs:
                order.setdefault(index, len(order))
        return order.get

    def _is_real(self, index):
        """Tell whether a tensor holds real numbers that are computed or fed."""
        tensor = self._graph.tensors[index] if index >= 0 else None
        return tensor is not None and tensor.dtype == "FLOAT32" and not tensor.constant

    def _root(self, index):
        """Return the representative of a tensor's group."""
        while self._parent[index] != index:
            index = self._parent[index]
        return index

    def _join(self, members):
        """Put tensors without a defined grid into one group."""
        roots = [self._root(index) for index in members]
        for root in roots[1:]:
            self._parent[self._root(root)] = self._root(roots[0])

    def _meet(self, operation):
        """Take note of an operation: what it makes, and what has one grid with it."""
        outputs = [index for index in operation.outputs if self._is_real(index)]
        inputs = [index for index in operation.inputs if self._is_real(index)]
        for index in outputs:
            self._parent[index] = index
        constants = [i for i in operation.inputs if _is_real_constant(self._graph, i)]
        if not (outputs or inputs or constants):
            return
        reason = self._reason(operation)
        if reason is not None:
            self._in_float[operation.index] = reason
            return
        entry = support(operation.name)
        lookup = self._table(operation)
        if lookup is not None and self._dtype == "INT8":
            self._defined[outputs[0]] = OfTable(lookup)
        elif entry.output == "fixed":
            for index in outputs:
                self._defined[index] = Fixed(*entry.fixed[self._dtype])
        elif entry.output == "same":
            self._meet_copy(operation, inputs, outputs, constants)

    def _meet_copy(self, operation, inputs, outputs, constants):
        """Give what an operation copies one grid with what it copies from."""
        defined = {self._defined.get(self._root(index)) for index in inputs}
        if len(defined) == 1 and None not in defined and self._hold(*defined, constants):
            for index in outputs:
                self._parent[index] = self._root(inputs[0])
            return
        free = [index for index in inputs if self._root(index) not in self._defined]
        self._join([*free, *outputs] or outputs)
        self._requantized |= {
            (operation.index, position)
            for position, index in enumerate(operation.inputs)
            if index in self._parent and self._root(index) in self._defined
        }

    def _hold(self, grid, constants):
        """Tell whether a grid that is fixed holds the constants that are joined to it."""
        if not constants:
            return True
        if not isinstance(grid, Fixed):
            return False
        lowest, highest = (-128, 127) if self._dtype == "INT8" else (-32768, 32767)
        ends = [grid.scale * (integer - grid.zero_point) for integer in (lowest, highest)]
        values = [constant_value(self._model, self._graph.tensors[index]) for index in constants]
        return all(ends[0] <= v.min(initial=0) and v.max(initial=0) <= ends[1] for v in values)

    def _table(self, operation) -> Place | None:
        """Return the place of the constant that an operation looks rows up in."""
        position = _LOOKUPS.get(operation.name)
        if position is None or not _is_real_constant(self._graph, operation.inputs[position]):
            return None
        return operation.index, position

    def _reason(self, operation) -> str | None:
        """Say why an operation computes in float, None if it does not."""
        if operation.custom:
            return "a custom operation"
        if operation.index in self._schemes and self._schemes[operation.index] is None:
            return "left in float"
        if not runs_with(operation.name, self._dtype):
            return f"no kernel for {self._dtype.lower()}"
        return None

    def _number(self, indices):
        """Number the learned grids in the order of the graph."""
        grids: dict[int, Numbers] = {}
        rows: dict[int, list[int]] = {}
        for index in indices:
            root = self._root(index)
            if root in self._defined:
                grids[index] = self._defined[root]
            else:
                rows.setdefault(root, []).append(index)
                grids[index] = Learned(list(rows).index(root))
        return grids, tuple(tuple(members) for members in rows.values())

    def _constants(self, operation, grids, kernels, biases, constants):
        """Decide on the constants that an integer operation reads."""
        entry = support(operation.name)
        if entry is None:
            return
        scheme = self._schemes.get(operation.index, self._scheme)
        for position, index in enumerate(operation.inputs):
            place = operation.index, position
            if not _is_real_constant(self._graph, index):
                continue
            if place == self._table(operation) and self._dtype == "INT8":
                kernels[place] = KernelNumbers(self._bits(operation, scheme), None)
            elif position == entry.kernel:
                axis = _scale_axis(entry, operation, scheme, self._dtype)
                kernels[place] = KernelNumbers(self._bits(operation, scheme), axis)
            elif position == entry.bias:
                data = 2 if operation.name == "TRANSPOSE_CONV" else 0
                biases[place] = (operation.index, data), (operation.index, entry.kernel)
            elif entry.output == "same":
                constants[place] = grids[operation.outputs[0]]
            else:
                constants[place] = None

    def _bits(self, operation, scheme):
        """Return the bits of a kernel: those of the scheme, if there is such a kernel."""
        types = weight_types(operation.name, self._dtype)
        return scheme.weight_bits if f"INT{scheme.weight_bits}" in types else 8
