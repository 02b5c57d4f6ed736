"""Which numbers each tensor of a float file becomes under a scheme: decided from structure alone.

A tensor that integer kernels make or read has a *grid*: a range that is learned or calibrated, the
fixed one of the operation that makes it, or that of a table that it is looked up in. Tensors
between which kernels only copy have one grid together, as have the output of a fused LSTM and its
hidden state. What the kernels cannot compute with integers stays in float, with the reason.

A model that TFMOT trained brings grids with it. A file of the same bits takes them as they are; in
a file of other bits the range is kept.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tfcompress.quantization.scheme import Scheme
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.filling import (
    BIASES,
    CELL_STATE,
    FUSED_LSTM,
    HIDDEN_STATE,
    INPUT_WEIGHTS,
    STATE_WEIGHTS,
    Storage,
    casts_integers,
    exact_zero_point,
)
from tfcompress.tflite.model import Operation, Subgraph, TFLiteModel
from tfcompress.tflite.operations import Support, runs_with, support, weight_types

Place = tuple[int, int]  # an operation of the graph, and the position of one of its inputs

# With float activations, smaller kernels are not worth the time that quantizing inputs takes.
SMALLEST_DYNAMIC = 1024
# Why an operation is in float where ranges are not observed.
NO_RANGE = "a tensor without a range"
_LOOKUPS = {"GATHER": 0, "EMBEDDING_LOOKUP": 1}  # and where they read their table


@dataclasses.dataclass(frozen=True)
class Learned:
    """A grid whose range is learned or calibrated: a row of the ranges."""

    row: int


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A grid that the operation defines, or that the model brings with it."""

    scale: float
    zero_point: int


@dataclasses.dataclass(frozen=True)
class OfTable:
    """The grid of the table that a tensor is looked up in."""

    place: Place


@dataclasses.dataclass(frozen=True)
class CellState:
    """The grid of a fused LSTM's cell state: a power of two for a row of the ranges."""

    row: int


@dataclasses.dataclass(frozen=True)
class Dividend:
    """The grid of what is divided, or a coarser one, so that no quotient is less than half a step.

    Kernels make large numbers of those. Each field is the grid of a tensor of the division.
    """

    dividend: "Numbers"
    divisor: "Numbers"
    quotient: "Numbers"


@dataclasses.dataclass(frozen=True)
class Float:
    """No grid: the tensor stays in float."""


Numbers = Learned | Fixed | OfTable | CellState | Dividend | Float


@dataclasses.dataclass(frozen=True)
class KernelNumbers:
    """How a kernel is stored."""

    bits: int  # 16 for half-precision floats, otherwise those of its integers
    axis: int | None  # the axis of the file's kernel that scales run along, None for one scale
    # Those that the model brings with it; none if they follow from the values.
    scales: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Plan:
    """The numbers of a graph."""

    # The type of stored activations, "INT8" or "INT16"; None if they stay floats.
    dtype: str | None = None
    symmetric: bool = False  # whether the zero point of learned grids is 0
    # How each real-valued tensor that is computed or fed is stored, by its index.
    tensors: Mapping[int, Numbers] = dataclasses.field(default_factory=dict)
    # For each grid of a learned or calibrated range, the tensors that have it, in the order of the
    # graph.
    rows: Sequence[Sequence[int]] = ()
    # The form in which an operation reads a tensor, where it is not the stored one.
    reads: Mapping[Place, Numbers] = dataclasses.field(default_factory=dict)
    # How the kernel at a place is stored.
    kernels: Mapping[Place, KernelNumbers] = dataclasses.field(default_factory=dict)
    # The places of biases, each with the places of the data and the kernel whose scales make its
    # own.
    biases: Mapping[Place, tuple[Place, Place]] = dataclasses.field(default_factory=dict)
    # The grid of any other constant that an integer operation reads; None for the grid of its own
    # values.
    constants: Mapping[Place, Numbers | None] = dataclasses.field(default_factory=dict)
    # For each real-valued operation that computes in float, why.
    in_float: Mapping[int, str] = dataclasses.field(default_factory=dict)

    def form(self, operation: Operation, position: int) -> Numbers:
        """Return the form in which an operation reads one of its inputs."""
        index = operation.inputs[position]
        return self.reads.get((operation.index, position), self.tensors.get(index, Float()))


def make_plan(
    model: TFLiteModel,
    scheme: Scheme,
    schemes: Mapping[int, Scheme | None],
    tfmot_grids: Mapping[int, Storage] | None = None,
    observed: bool = True,
) -> Plan:
    """Decide on the numbers of a float file's main graph.

    ``schemes`` gives, by the index of an operation, the numerics of its weights where they are not
    those of ``scheme``; None for an operation that computes in float. ``tfmot_grids`` gives the
    form that the model itself rounds a tensor to; an operation on another grid reads it on that
    one. Unless ``observed``, the other tensors get no ranges, and operations on them are in float.
    """
    if scheme.activation_bits is None:
        return _weights_alone(model, scheme, schemes)
    return _Planner(model, scheme, schemes, tfmot_grids or {}, observed).plan()


def weight_positions(operation: Operation) -> dict[int, int | None]:
    """Tell where an operation reads kernels, and where the bias of each; None for no bias.

    Example:
    >>> weight_positions(Operation(0, "CONV_2D", 3, (0, 1, 2), (3,), {}))
    {1: 2}
    """
    if operation.name == FUSED_LSTM:
        places = dict.fromkeys((*INPUT_WEIGHTS, *STATE_WEIGHTS))
        places |= zip(INPUT_WEIGHTS, BIASES, strict=True)
    else:
        entry = support(operation.name)
        places = {} if entry is None or entry.kernel is None else {entry.kernel: entry.bias}
    there = {place for place, tensor in enumerate(operation.inputs) if tensor >= 0}
    return {k: bias if bias in there else None for k, bias in places.items() if k in there}


def tfmot_activation_grid(form: Storage, dtype: str) -> tuple[float, int]:
    """Return the scale and the zero point, in a file of ``dtype``, of a grid that a model brings.

    Example:
    >>> tfmot_activation_grid(Storage("UINT8", (0.5,), (100,)), "INT8")
    (0.5, -28)
    """
    bits, signed_zero_point = _signed(form)
    scale = float(form.scales[0])
    if (bits, dtype) == (8, "INT8"):
        return scale, signed_zero_point
    half = 2 ** (bits - 1)
    smallest, largest = (scale * (end - signed_zero_point) for end in (-half, half - 1))
    if dtype == "INT16":
        return float(np.float32(max(-smallest, largest) / 32767)), 0
    wide = (largest - smallest) / 255
    return float(np.float32(wide)), int(np.clip(round(-128 - smallest / wide), -128, 127))


def tfmot_kernel_bits(form: Storage) -> int | None:
    """Return the bits of a kernel that a model brings; None if it has a zero point.

    Example:
    >>> tfmot_kernel_bits(Storage("UINT8", (0.5, 0.25), (128, 128)))
    8
    """
    bits, _ = _signed(form)
    middle = 0 if form.dtype.startswith("INT") else 2 ** (bits - 1)
    return bits if set(form.zero_points) <= {middle} else None


def _signed(form: Storage) -> tuple[int, int]:
    """Return the bits of a form, and the zero point that it has in signed integers."""
    signed = form.dtype.startswith("INT")
    bits = int(form.dtype.removeprefix("UINT").removeprefix("INT"))
    return bits, int(form.zero_points[0]) - (0 if signed else 2 ** (bits - 1))


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
        positions = weight_positions(operation)
        indices = [operation.inputs[position] for position in positions]
        if "INT8" not in weight_types(operation.name, "FLOAT32"):
            continue
        if not all(_is_real_constant(graph, index) for index in indices):
            continue
        if sum(np.prod(graph.tensors[index].shape) for index in indices) >= SMALLEST_DYNAMIC:
            axis = _scale_axis(support(operation.name), operation, own, "FLOAT32")
            for position in positions:
                kernels[operation.index, position] = KernelNumbers(8, axis)
    return Plan(kernels=kernels)


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

    def __init__(self, model, scheme, schemes, tfmot_grids, observed):
        self._model, self._graph = model, model.subgraphs[0]
        self._scheme, self._schemes = scheme, schemes
        self._tfmot_grids, self._observed = tfmot_grids, observed
        self._dtype = f"INT{scheme.activation_bits}"
        self._in_float: dict[int, str] = {}
        self._parent: dict[int, int] = {}
        self._defined: dict[int, Numbers] = {}  # by the root of a group
        self._reread: dict[int, Fixed] = {}  # what is read on another grid than it is stored on
        self._one_grid: dict[int, int] = {}  # by operation, the tensor whose grid the others have
        self._requantized: set[Place] = set()
        self._cells: set[int] = set()  # the cell states of LSTMs

    def plan(self) -> Plan:
        """Return the plan."""
        operations = self._graph.operations
        for index in self._graph.inputs:
            if self._is_real(index):
                self._parent[index] = index
                self._take_tfmot_grid(index)
        for operation in operations:
            self._meet(operation)
        if not self._observed:
            self._leave_without_range()
        readers = {
            index: [
                operation.index in self._in_float for operation, _ in self._graph.readers[index]
            ]
            for index in self._parent
        }
        in_float = {i for o in operations if o.index in self._in_float for i in o.outputs}
        in_float |= {i for i in self._graph.inputs if readers.get(i) and all(readers[i])}
        needed = {i for i in self._parent if i not in in_float or not all(readers[i])}
        grids, rows = self._number(sorted(needed, key=self._order()))
        tensors = {
            index: Float() if index in in_float or index not in grids else grids[index]
            for index in self._parent
        }
        symmetric = self._scheme.symmetric_activations
        plan = Plan(self._dtype, symmetric, tensors, rows, in_float=self._in_float)
        for operation in operations:
            for position, index in enumerate(operation.inputs):
                if index in self._parent:
                    wanted = self._wanted(operation, position, grids)
                    if wanted != tensors[index]:
                        plan.reads[operation.index, position] = wanted
            if operation.index not in self._in_float:
                self._constants(operation, grids, plan)
        return plan

    def _wanted(self, operation, position, grids) -> Numbers:
        """Return the form in which an operation has to read a tensor."""
        if operation.index in self._in_float:
            return Float()
        if (operation.index, position) in self._requantized:
            return grids[self._one_grid[operation.index]]
        index = operation.inputs[position]
        form = self._reread.get(index, grids[index])
        if operation.name == "DIV" and position == 0 and operation.inputs[1] in grids:
            return Dividend(form, grids[operation.inputs[1]], grids[operation.outputs[0]])
        return form

    def _order(self):
        """Return a key that sorts tensors in the order in which they come to be."""
        order = {index: place for place, index in enumerate(self._graph.inputs)}
        for operation in self._graph.operations:
            for index in (*operation.outputs, *operation.inputs):  # its states come with it
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
        for index in members[1:]:
            self._parent[self._root(index)] = self._root(members[0])

    def _meet(self, operation):
        """Take note of an operation: what it makes, and what has one grid with it."""
        outputs = [index for index in operation.outputs if self._is_real(index)]
        inputs = [index for index in operation.inputs if self._is_real(index)]
        self._parent |= {index: index for index in outputs}
        constants = [i for i in operation.inputs if _is_real_constant(self._graph, i)]
        if not (outputs or inputs or constants):
            return
        reason = self._reason(operation)
        if reason is not None:
            self._in_float[operation.index] = reason
        else:
            self._relate(operation, inputs, outputs, constants)
        for index in outputs:
            self._take_tfmot_grid(index)

    def _relate(self, operation, inputs, outputs, constants):
        """Take note of the grids that an integer operation defines or joins."""
        entry = support(operation.name)
        lookup = self._table(operation)
        if lookup is not None and self._dtype == "INT8":
            self._defined[outputs[0]] = OfTable(lookup)
        elif operation.name == "CAST":
            whole = self._graph.tensors[operation.inputs[0]].dtype
            zero_point = exact_zero_point(whole, self._dtype)
            if zero_point == 0 or (zero_point and not self._scheme.symmetric_activations):
                self._defined[outputs[0]] = Fixed(1.0, zero_point)
        elif entry.output == "fixed":
            self._defined |= dict.fromkeys(outputs, Fixed(*entry.fixed[self._dtype]))
        elif entry.output == "same" or (inputs and self._dtype in entry.same_inputs):
            outputs = outputs if entry.output == "same" else []
            self._meet_copy(operation, inputs, outputs, constants)
        elif operation.name == FUSED_LSTM:  # the hidden state has one grid with the output
            hidden, cell = (operation.inputs[place] for place in (HIDDEN_STATE, CELL_STATE))
            self._parent[hidden] = self._root(operation.outputs[0])
            self._parent[cell] = cell
            self._cells.add(cell)

    def _take_tfmot_grid(self, index):
        """Give a tensor the grid that the model brings for it, or let it be read on that."""
        if index in self._tfmot_grids:
            grid = Fixed(*tfmot_activation_grid(self._tfmot_grids[index], self._dtype))
            if self._defined.setdefault(self._root(index), grid) != grid:
                self._reread[index] = grid

    def _leave_without_range(self):
        """Leave operations in float that read or make a tensor without a range."""
        for operation in self._graph.operations:
            used = [i for i in (*operation.inputs, *operation.outputs) if i in self._parent]
            if any(self._root(index) not in self._defined for index in used):
                self._in_float.setdefault(operation.index, NO_RANGE)

    def _meet_copy(self, operation, inputs, outputs, constants):
        """Give what an operation copies, or compares, one grid."""
        read = {  # None where the grid is left to the range
            index: self._reread.get(index, self._defined.get(self._root(index))) for index in inputs
        }
        defined = {*read.values()}
        joined = [*(index for index in inputs if read[index] is None), *outputs]
        self._one_grid[operation.index] = (joined or inputs)[-1]
        self._join(joined)
        if len(defined) == 1 and None not in defined and self._hold(*defined, constants):
            self._defined |= {self._root(index): defined.pop() for index in outputs[:1]}
            return
        self._requantized |= {
            (operation.index, position)
            for position, index in enumerate(operation.inputs)
            if read.get(index) is not None
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
        name = "QUANTIZE" if casts_integers(operation, self._graph) else operation.name
        entry, symmetric = support(name), self._scheme.symmetric_activations
        if not runs_with(name, self._dtype):
            return f"no kernel for {self._dtype.lower()}"
        if self._dtype in entry.symmetric and not symmetric:
            return f"no kernel for {self._dtype.lower()} with a zero point"
        return None

    def _number(self, indices):
        """Number the learned grids in the order of the graph."""
        grids: dict[int, Numbers] = {}
        rows: dict[int, list[int]] = {}
        numbers: dict[int, int] = {}
        for index in indices:
            root = self._root(index)
            if root in self._defined:
                grids[index] = self._defined[root]
            else:
                rows.setdefault(root, []).append(index)
                kind = CellState if index in self._cells else Learned
                grids[index] = kind(numbers.setdefault(root, len(numbers)))
        return grids, tuple(tuple(members) for members in rows.values())

    def _constants(self, operation, grids, plan):
        """Decide on the constants that an integer operation reads."""
        entry = support(operation.name)
        if entry is None:
            return
        scheme = self._schemes.get(operation.index, self._scheme)
        positions = weight_positions(operation)
        kernel_of = {bias: kernel for kernel, bias in positions.items()}
        for position, index in enumerate(operation.inputs):
            place = operation.index, position
            if not _is_real_constant(self._graph, index):
                continue
            bits = self._bits(operation, scheme.weight_bits)
            if place == self._table(operation) and self._dtype == "INT8":
                plan.kernels[place] = KernelNumbers(bits, None)
            elif position in positions:
                axis = _scale_axis(entry, operation, scheme, self._dtype)
                own = self._tfmot_kernel(operation, index)
                plan.kernels[place] = own or KernelNumbers(bits, axis)
            elif position in kernel_of:
                kernel = operation.index, kernel_of[position]
                plan.biases[place] = (operation.index, entry.data), kernel
            else:
                shared = self._one_grid.get(operation.index)
                plan.constants[place] = None if shared is None else grids[shared]

    def _tfmot_kernel(self, operation, index) -> KernelNumbers | None:
        """Return the numbers that the model brings for a kernel, if there is such a kernel."""
        form, entry = self._tfmot_grids.get(index), support(operation.name)
        if form is None or (bits := tfmot_kernel_bits(form)) is None or bits > 8:
            return None
        axis = form.axis if len(form.scales) > 1 else None
        if axis is not None and not (
            self._dtype in entry.per_channel and axis == entry.channel_axis
        ):
            return None
        return KernelNumbers(self._bits(operation, bits), axis, tuple(form.scales))

    def _bits(self, operation, bits):
        """Return the bits of a kernel: those that are wanted, if there is such a kernel."""
        return bits if f"INT{bits}" in weight_types(operation.name, self._dtype) else 8
