"""Which numbers each tensor of a float file becomes under a scheme: decided from structure alone.

A tensor that integer kernels make or read has a *grid*: a range that is learned or calibrated, the
fixed one of the operation that makes it, or that of a table that it is looked up in. Tensors
between which kernels only copy have one grid together, as have the output of a fused LSTM and its
hidden state. What the kernels cannot compute with integers stays in float, with the reason.
"""

from collections.abc import Mapping

import numpy as np

from tfcompress.quantization.brought_grids import activation_grid, kernel_bits
from tfcompress.quantization.lstm_numbers import weight_positions
from tfcompress.quantization.plan import (
    CellState,
    Fixed,
    Float,
    KernelNumbers,
    Learned,
    Numbers,
    OfTable,
    Place,
    Plan,
)
from tfcompress.quantization.scheme import Scheme
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.filling import CELL_STATE, FUSED_LSTM, HIDDEN_STATE, Storage
from tfcompress.tflite.model import Operation, Subgraph, TFLiteModel
from tfcompress.tflite.operations import Support, runs_with, support, weight_types

# With float activations, smaller kernels are not worth the time that quantizing inputs takes.
_SMALLEST_DYNAMIC = 1024
# Why an operation is in float where ranges are not observed.
NO_RANGE = "a tensor without a range"
_LOOKUPS = {"GATHER": 0, "EMBEDDING_LOOKUP": 1}  # and where they read their table


def make_plan(
    model: TFLiteModel,
    scheme: Scheme,
    schemes: Mapping[int, Scheme | None],
    brought: Mapping[int, Storage] | None = None,
    observed: bool = True,
) -> Plan:
    """Decide on the numbers of a float file's main graph.

    Args:
        model: the file.
        scheme: the numerics of activations.
        schemes: by the index of an operation, the numerics of its weights where they are not those
            of ``scheme``; None for an operation that computes in float.
        brought: by the index of a tensor, the form that the model itself rounds it to. Where its
            operation has another grid, it is read on that of the model.
        observed: whether the other tensors get ranges; without, operations on them are in float.

    Returns:
        The plan.

    Example:
    ```python
    from tfcompress.tflite.flatbuffer import read_model

    make_plan(read_model("model_float.tflite"), Scheme.int8(), {}).in_float  # {}
    ```
    """
    if scheme.activation_bits is None:
        return _weights_alone(model, scheme, schemes)
    return _Planner(model, scheme, schemes, brought or {}, observed).plan()


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
        if "INT8" not in weight_types(operation.name, "FLOAT32"):
            continue
        positions = weight_positions(operation)
        indices = [operation.inputs[position] for position in positions]
        if not all(_is_real_constant(graph, index) for index in indices):
            continue
        if sum(np.prod(graph.tensors[index].shape) for index in indices) >= _SMALLEST_DYNAMIC:
            axis = _scale_axis(support(operation.name), operation, own, "FLOAT32")
            for position in positions:
                kernels[operation.index, position] = KernelNumbers(8, axis)
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

    def __init__(self, model, scheme, schemes, brought, observed):
        self._model, self._graph = model, model.subgraphs[0]
        self._scheme, self._schemes = scheme, schemes
        self._brought, self._observed = brought, observed
        self._dtype = f"INT{scheme.activation_bits}"
        self._in_float: dict[int, str] = {}
        self._parent: dict[int, int] = {}
        self._defined: dict[int, Numbers] = {}  # by the root of a group
        self._reread: dict[int, Fixed] = {}  # what is read on another grid than it is stored on
        self._requantized: set[Place] = set()
        self._cells: set[int] = set()  # the cell states of LSTMs

    def plan(self) -> Plan:
        """Return the plan."""
        graph = self._graph
        for index in graph.inputs:
            if self._is_real(index):
                self._parent[index] = index
                self._bring(index)
        for operation in graph.operations:
            self._meet(operation)
        if not self._observed:
            self._leave_without_range()
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
            for position, index in enumerate(operation.inputs):
                if index in self._parent:
                    wanted = self._wanted(operation, position, grids)
                    if wanted != tensors[index]:
                        reads[operation.index, position] = wanted
            if operation.index not in self._in_float:
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

    def _wanted(self, operation, position, grids) -> Numbers:
        """Return the form in which an operation has to read a tensor."""
        if operation.index in self._in_float:
            return Float()
        if (operation.index, position) in self._requantized:
            return grids[operation.outputs[0]]
        index = operation.inputs[position]
        return self._reread.get(index, grids[index])

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
        else:
            self._relate(operation, inputs, outputs, constants)
        for index in outputs:
            self._bring(index)

    def _relate(self, operation, inputs, outputs, constants):
        """Take note of the grids that an integer operation defines or joins."""
        entry = support(operation.name)
        lookup = self._table(operation)
        if lookup is not None and self._dtype == "INT8":
            self._defined[outputs[0]] = OfTable(lookup)
        elif entry.output == "fixed":
            for index in outputs:
                self._defined[index] = Fixed(*entry.fixed[self._dtype])
        elif entry.output == "same":
            self._meet_copy(operation, inputs, outputs, constants)
        elif operation.name == FUSED_LSTM:
            self._meet_lstm(operation)

    def _bring(self, index):
        """Give a tensor the grid that the model brings for it, or let it be read on that."""
        if index in self._brought:
            grid = Fixed(*activation_grid(self._brought[index], self._dtype))
            if self._defined.setdefault(self._root(index), grid) != grid:
                self._reread[index] = grid

    def _leave_without_range(self):
        """Leave operations in float that read or make a tensor without a range."""
        for operation in self._graph.operations:
            used = [i for i in (*operation.inputs, *operation.outputs) if i in self._parent]
            if any(self._root(index) not in self._defined for index in used):
                self._in_float.setdefault(operation.index, NO_RANGE)

    def _meet_lstm(self, operation):
        """Give the hidden state one grid with the output, and the cell state one of its own."""
        hidden, cell = (operation.inputs[place] for place in (HIDDEN_STATE, CELL_STATE))
        self._parent[hidden] = self._root(operation.outputs[0])
        self._parent[cell] = cell
        self._cells.add(cell)

    def _meet_copy(self, operation, inputs, outputs, constants):
        """Give what an operation copies one grid with what it copies from."""
        read = {index: self._read_on(index) for index in inputs}
        defined = {*read.values()}
        if len(defined) == 1 and None not in defined and self._hold(*defined, constants):
            self._join(outputs)
            self._defined[self._root(outputs[0])] = defined.pop()
            return
        self._join([*(index for index in inputs if read[index] is None), *outputs])
        self._requantized |= {
            (operation.index, position)
            for position, index in enumerate(operation.inputs)
            if read.get(index) is not None
        }

    def _read_on(self, index) -> Numbers | None:
        """Return the grid on which a tensor is read, None if that is left to its range."""
        return self._reread.get(index, self._defined.get(self._root(index)))

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
                kind = CellState if index in self._cells else Learned
                grids[index] = kind(list(rows).index(root))
        return grids, tuple(tuple(members) for members in rows.values())

    def _constants(self, operation, grids, kernels, biases, constants):
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
            if place == self._table(operation) and self._dtype == "INT8":
                kernels[place] = KernelNumbers(self._bits(operation, scheme.weight_bits), None)
            elif position in positions:
                axis = _scale_axis(entry, operation, scheme, self._dtype)
                kernels[place] = self._brought_kernel(operation, index) or KernelNumbers(
                    self._bits(operation, scheme.weight_bits), axis
                )
            elif position in kernel_of:
                kernel = kernel_of[position]
                biases[place] = (operation.index, entry.data), (operation.index, kernel)
            elif entry.output == "same":
                constants[place] = grids[operation.outputs[0]]
            else:
                constants[place] = None

    def _brought_kernel(self, operation, index) -> KernelNumbers | None:
        """Return the numbers that the model brings for a kernel, if there is such a kernel."""
        form, entry = self._brought.get(index), support(operation.name)
        if form is None or (bits := kernel_bits(form)) is None or bits > 8:
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
