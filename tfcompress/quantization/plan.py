"""The numbers of a graph: in which form each tensor of a file is stored, and read."""

import dataclasses
from collections.abc import Mapping, Sequence

from tfcompress.tflite.model import Operation

Place = tuple[int, int]  # an operation of the graph, and the position of one of its inputs


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
class Float:
    """No grid: the tensor stays in float."""


Numbers = Learned | Fixed | OfTable | CellState | Float


@dataclasses.dataclass(frozen=True)
class KernelNumbers:
    """How a kernel is stored.

    Attributes:
        bits: 16 for half-precision floats, otherwise those of its integers.
        axis: the axis of the file's kernel that scales run along, None for one scale.
        scales: those that the model brings with it; none if they follow from the values.
    """

    bits: int
    axis: int | None
    scales: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Plan:
    """The numbers of a graph.

    Attributes:
        dtype: the type of stored activations, "INT8" or "INT16"; None if they stay floats.
        symmetric: whether the zero point of learned grids is 0.
        tensors: how each real-valued tensor that is computed or fed is stored, by its index.
        rows: for each grid of a learned or calibrated range, the tensors that have it, in the order
            of the graph.
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
