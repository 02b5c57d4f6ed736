"""The numbers that a plan asks for: grids from ranges, integers from weights, and the filled file.

All is computed by TensorFlow, from tensors: in the graph of a prediction, where ranges and weights
are variables, and once for a file. Both so have the same integers, to the last one.
"""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfcompress.native_output import silenced_tensorflow
from tfcompress.quantization.arithmetic.fake_quantization import DIVISOR_FLOOR, usable_range
from tfcompress.quantization.arithmetic.masks import ADDED_MASK, are_masks, without_masks
from tfcompress.quantization.deployed_graph import DeployedGraph
from tfcompress.quantization.derivation import FoldedKernel
from tfcompress.quantization.kernels.grids import Grid, Integers, integer_range
from tfcompress.quantization.kernels.lstm import cell_grid
from tfcompress.quantization.kernels.requantization import fused_activation, traced_once
from tfcompress.quantization.planning import (
    CellState,
    Dividend,
    Fixed,
    Float,
    KernelNumbers,
    Learned,
    Numbers,
    OfTable,
    Place,
)
from tfcompress.quantization.weights import RoundedKernel
from tfcompress.tflite.constants import constant_value, numpy_type
from tfcompress.tflite.filling import FUSED_LSTM, Filling, Storage, inner_storages
from tfcompress.tflite.numerics import RANGE_OF_ZEROS, SMALLEST_RANGE
from tfcompress.tflite.operations import BOUNDS, accepts_scales, finest_step, support

_HALF_A_STEP = 0.5 + 1e-4  # above it, so that no rounding of scales gets below
_LARGEST_BIAS = {"INT32": 2**31 - 1, "INT64": 2**47}
_FLOAT = Storage("FLOAT32")
# Biases leave room for the sums that they are added to.
_ROOM = {"INT8": 2.0**30, "INT16": 2.0**46}
# XNNPACK refuses a whole file in which the sums of an operation count in units of 256 steps of its
# output, or more.
_LARGEST_UNIT = 256.0
_ABOVE = 1.004  # what is above a limit, whatever scales are rounded to


@dataclasses.dataclass(frozen=True)
class GraphIntegers:
    """What a graph is filled with."""

    grids: Mapping[Numbers, Grid]  # the grid of each kind of numbers that tensors have
    # The integers of kernels, biases and other constants, by their place.
    constants: Mapping[Place, Integers]
    halves: Mapping[Place, tf.Tensor]  # half-precision kernels, by their place
    reals: Mapping[int, tf.Tensor]  # the values of the constants that stay floats, by their tensor

    def tensors(self) -> list[tf.Tensor]:
        """List all tensors, in an order of their own."""
        grids = [*self.grids.values(), *(integers.grid for integers in self.constants.values())]
        ends = [end for grid in grids for end in (grid.scale, grid.zero_point)]
        values = [integers.values for integers in self.constants.values()]
        return [*ends, *values, *self.halves.values(), *self.reals.values()]

    def with_tensors(self, tensors: Sequence) -> "GraphIntegers":
        """Return the same with other tensors, in the order of ``tensors``."""
        left = iter(tensors)

        def filled(grid):
            return grid._replace(scale=next(left), zero_point=next(left))

        grids = {form: filled(grid) for form, grid in self.grids.items()}
        own = {place: filled(integers.grid) for place, integers in self.constants.items()}
        constants = {place: Integers(next(left), grid) for place, grid in own.items()}
        halves, reals = ({key: next(left) for key in group} for group in (self.halves, self.reals))
        return GraphIntegers(grids, constants, halves, reals)


def computed(make: Callable[[], GraphIntegers]) -> GraphIntegers:
    """Compute numbers now, as a graph would, down to the last bit."""
    return compiled(make)()


def compiled(make: Callable[[], GraphIntegers]) -> Callable[[], GraphIntegers]:
    """Return a function that does what ``computed`` does, and traces the first time alone."""
    symbolic = []

    def listed():
        symbolic[:] = [make()]
        return symbolic[0].tensors()

    # The optimizer moves divisions, and inference optimizes its graph: so must this one be.
    function = tf.function(listed, autograph=False)
    traced = []

    def compute():
        quietly = contextlib.nullcontext
        if not traced:  # called directly, ever new functions look like retracing, with a warning
            traced.append(function.get_concrete_function())
            quietly = silenced_tensorflow  # it fails to fold calls the first time, and says so
        with quietly():
            tensors = traced[0]()
        return symbolic[0].with_tensors(tensors)

    return compute


@dataclasses.dataclass(frozen=True)
class TrainedKernel:
    """A kernel whose rounding was trained."""

    kernel: RoundedKernel  # the kernel and its scheme
    steps: object = None  # its trained step sizes, None if the weights decide

    def scales(self):
        """Return the step sizes of the variable: one, or one per output channel, flat."""
        return tf.reshape(self.kernel.limit(self.steps), [-1]) / self.kernel.levels


def range_grid(smallest, largest, dtype: str, symmetric: bool) -> Grid:
    """Make the grid of a range, as fake quantization rounds to it in training.

    Example:
    >>> grid = range_grid(tf.constant(-1.0), tf.constant(1.55), "INT8", symmetric=False)
    >>> round(float(grid.scale), 6), int(grid.zero_point)
    (0.01, -28)
    """
    bits = 8 if dtype == "INT8" else 16
    smallest, largest = usable_range(smallest, largest, symmetric)
    levels = 2.0**bits - (2.0 if symmetric else 1.0)
    scale = tf.math.divide_no_nan(largest - smallest, levels)
    if symmetric:
        return Grid(scale, tf.constant(0), dtype)
    zero = tf.floor(tf.math.divide_no_nan(-smallest, scale) + 0.5)
    zero = tf.clip_by_value(zero, 0.0, levels)
    return Grid(scale, tf.cast(zero, tf.int32) - 2 ** (bits - 1), dtype)


def nearest_integers(values, bits: int, axis: int | None, least=0.0) -> Integers:
    """Round weights to a symmetric grid without its lowest integer, of ``least`` steps or larger.

    Example:
    >>> nearest_integers(tf.constant([[1.0, -0.3]]), bits=2, axis=None).values.numpy()
    array([[ 1., -0.]], dtype=float32)
    """
    integers, scale = _nearest(values, least, bits=bits, axis=axis)
    integers.set_shape(values.shape)
    scale.set_shape([] if axis is None else [values.shape[axis]])
    return Integers(integers, Grid(scale, tf.constant(0), f"INT{bits}", axis or 0))


@traced_once
def _nearest(values, least, bits, axis):
    """Return the integers and the scales of ``nearest_integers``."""
    limit_axes = [other for other in range(len(values.shape)) if other != axis]
    limit = tf.reduce_max(tf.abs(values), limit_axes)
    limit = tf.where(limit < SMALLEST_RANGE, RANGE_OF_ZEROS, limit)
    scale = _not_below(least, tf.math.divide_no_nan(limit, 2.0 ** (bits - 1) - 1.0))
    integers = tf.round(tf.math.divide_no_nan(values, _along(axis, scale, values)))
    return integers, scale


def _not_below(least, scale):
    """Return scales, of each channel or one for all, that are no smaller than those."""
    return tf.maximum(scale, least if len(scale.shape) else tf.reduce_max(least))


def _along(axis, scale, values):
    """Bring the scales of channels beside the weights."""
    return tf.reshape(scale, [-1 if other == axis else 1 for other in range(len(values.shape))])


@traced_once
def _on_trained_steps(real, scale, least, *factor, bits, axis):
    """Round a kernel to steps that were trained, then scale it by the factors of its channels."""
    if axis is not None:
        scale = tf.broadcast_to(scale, [tf.shape(real)[axis]])
    levels = 2.0 ** (bits - 1) - 1.0
    integers = tf.round(tf.math.divide_no_nan(real, _along(axis, scale, real)))
    integers = tf.clip_by_value(integers, -levels, levels)
    if factor:
        factor = tf.broadcast_to(tf.reshape(factor[0], [-1]), tf.shape(scale))
        integers *= _along(axis, tf.sign(factor), real)
        scale *= tf.abs(factor)
        vanishing = scale * levels < SMALLEST_RANGE
        scale = tf.where(vanishing, RANGE_OF_ZEROS / levels, scale)
        integers = tf.where(_along(axis, vanishing, real), 0.0, integers)
    scale = scale if axis is not None else tf.reshape(scale, [])
    coarser = _not_below(least, scale)
    return tf.round(integers * _along(axis, scale / coarser, real)), coarser


@traced_once
def _widened(steps, read, made, factors, powers):
    """Widen the steps that operations make where they are too fine for those that they read.

    ``made`` are above ``factors`` times ``read`` to some powers, one after another.
    """

    def widen(i, steps):
        least = factors[i] * steps[read[i]] ** powers[i] * _ABOVE
        wide = tf.maximum(steps[made[i]], least)
        return i + 1, tf.tensor_scatter_nd_update(steps, [[made[i]]], [wide])

    return tf.while_loop(lambda i, _: i < tf.size(read), widen, (0, steps))[1]


@traced_once
def _least_steps(bias, step, room):
    """Return the least steps of weights with which biases fit into their integers."""
    return tf.abs(bias) / step / room


@traced_once
def _on_own_grid(real, dtype, symmetric, may_mask):
    """Round a constant to the grid that holds its values; return the scale and zero point, too."""
    if may_mask:
        real = tf.where(are_masks(real), ADDED_MASK, real)
    smallest = tf.minimum(tf.reduce_min(real), 0.0)
    largest = tf.maximum(tf.reduce_max(real), 0.0)
    # No bias is added in units of a constant's scale, so that it may be as fine as it likes.
    width = largest - smallest
    unit = tf.where(width > 1e-30, width, 1.0)
    grid = range_grid(smallest / unit, largest / unit, dtype, symmetric)
    grid = grid._replace(scale=grid.scale * unit)
    return _on_grid(real, grid), grid.scale, grid.zero_point


def _on_grid(real, grid: Grid):
    """Round a constant to a grid."""
    steps = tf.round(tf.math.divide_no_nan(real, grid.scale))
    steps = tf.where(tf.equal(real, np.float32(DIVISOR_FLOOR)), 1.0, steps)
    steps += tf.cast(grid.zero_point, tf.float32)
    return tf.clip_by_value(steps, *map(float, integer_range(grid.dtype)))


@traced_once
def _in_units(real, scale, other, dtype):
    """Round a bias to the unit of the sums that it is added to; return that, too."""
    unit = scale * other
    steps = tf.math.divide_no_nan(tf.cast(real, tf.float64), tf.cast(unit, tf.float64))
    limit = _LARGEST_BIAS[dtype]
    steps = tf.clip_by_value(tf.round(steps), -limit, limit)
    return tf.cast(steps, tf.int32 if dtype == "INT32" else tf.int64), unit


def integers_on(values, scales: Sequence[float], bits: int, axis: int | None) -> Integers:
    """Round weights to steps that are known.

    Example:
    >>> integers_on(tf.constant([[1.0, -0.3]]), [0.25], bits=8, axis=None).values.numpy()
    array([[ 4., -1.]], dtype=float32)
    """
    scale = tf.constant(scales, tf.float32)
    limit = 2.0 ** (bits - 1) - 1.0
    integers = tf.round(values / _along(axis, scale, values))
    grid = Grid(tf.reshape(scale, [-1] if axis is not None else []), tf.constant(0), f"INT{bits}")
    return Integers(tf.clip_by_value(integers, -limit, limit), grid._replace(axis=axis or 0))


def integers_of(
    graph: DeployedGraph,
    ranges,
    weights: Mapping[str, object] | None = None,
    trained: Mapping[str, TrainedKernel] | None = None,
) -> GraphIntegers:
    """Compute what a graph is filled with.

    ``ranges`` are float32 (rows of the plan, 2), ``weights`` values by their placeholder's name,
    None if the file holds them, and ``trained`` the kernels whose rounding was trained, likewise.
    """
    return _Filler(graph, ranges, weights, trained or {}).integers()


class _Filler:
    """Computes the numbers of one graph."""

    def __init__(self, graph, ranges, weights, trained):
        self._graph, self._plan = graph, graph.plan
        self._file = graph.file
        self._operands, self._trained = {}, {}
        if weights is not None:
            self._operands, self._trained = graph.operands(weights), trained
        self._grids: dict[Numbers, Grid] = {}
        self._constants: dict[Place, Integers] = {}
        ends = tf.unstack(self._with_quotients_of_steps(ranges), axis=1)
        ends = usable_range(*ends, self._plan.symmetric)
        finest = range_grid(*ends, self._plan.dtype, self._plan.symmetric).scale
        steps = tf.maximum(finest, self._steps_with_bounds())
        self._steps = tf.unstack(steps, ranges.shape[0])
        biases = {kernel: place for place, (_, kernel) in self._plan.biases.items()}
        for place, numbers in self._plan.kernels.items():
            if numbers.bits != 16:
                least = self._least_steps(biases.get(place))
                self._constants[place] = self._kernel(place, numbers, least)
        widening = self._widening(steps) * steps / finest
        self._ranges = tf.stack(ends, 1) * widening[:, tf.newaxis]

    def _step(self, operation, position):
        """Return the step of what an operation reads, before it is widened; None if not learned."""
        form = self._plan.form(operation, position)
        if isinstance(form, Learned):
            return self._steps[form.row]
        return tf.constant(form.scale) if isinstance(form, Fixed) else None

    def _least_steps(self, bias):
        """Return the least steps of a kernel with which the bias at a place fits into its integers.

        What goes in may be next to nothing beside it.
        """
        if bias is None:
            return 0.0
        operation, position = self._plan.biases[bias][0]
        step = self._step(self._file.operations[operation], position)
        if step is None:
            return 0.0
        real = self._real(self._graph.tensor_at(bias))
        return _least_steps(real, step, _ROOM[self._plan.dtype])

    def _steps_with_bounds(self):
        """Return the least step of each row: what a rectifier limits to is a number of 32 bits."""
        least = np.zeros(len(self._plan.rows), np.float32)
        for operation in self._file.operations:
            form = self._plan.tensors.get(next(iter(operation.outputs), -1))
            for name in (operation.name, fused_activation(operation)):
                bound = BOUNDS.get(name, (0.0, np.inf))[1]
                if isinstance(form, Learned) and np.isfinite(bound):
                    least[form.row] = max(least[form.row], bound / 2**31 * _ABOVE)
        return least

    def _widening(self, steps):
        """Return what the range of each row is multiplied by: kernels make no finer steps.

        What comes out of them may be next to nothing beside what goes in.
        """
        read, made, factors, powers, fixed = [], [], [], [], []
        for operation in self._file.operations:
            form = self._plan.tensors.get(next(iter(operation.outputs), -1))
            if not isinstance(form, Learned) or operation.index in self._plan.in_float:
                continue
            entry = support(operation.name)
            kernel = entry and self._constants.get((operation.index, entry.kernel))
            for position in range(len(operation.inputs)):
                data = self._plan.form(operation, position)
                factor, power = finest_step(operation.name, self._plan.dtype) or (None, 1)
                if kernel and position == entry.data and self._plan.dtype == "INT8":
                    factor = tf.reduce_max(kernel.grid.scale) / _LARGEST_UNIT
                if factor is None or not isinstance(data, Learned | Fixed):
                    continue
                if isinstance(data, Fixed):
                    fixed.append(data.scale)
                read.append(data.row if isinstance(data, Learned) else -len(fixed))
                made.append(form.row)
                factors.append(factor)
                powers.append(float(power))
        if not read:
            return tf.ones_like(steps)
        known = tf.concat([steps, tf.constant(fixed[::-1], tf.float32)], 0)
        read = [row if row >= 0 else row + len(self._steps) + len(fixed) for row in read]
        widened = _widened(known, read, made, tf.stack(factors), powers)
        return tf.ensure_shape(widened[: len(self._steps)], steps.shape) / steps

    def _with_quotients_of_steps(self, ranges):
        """Limit the ranges of what a constant is divided to by those of quotients by one step.

        A divisor is a step at least, and kernels make large numbers of quotients that are less
        than half a step.
        """
        for operation in self._file.operations:
            if operation.name != "DIV" or operation.index in self._plan.in_float:
                continue
            index, divisor = operation.inputs
            made, by = (self._plan.tensors.get(i) for i in (operation.outputs[0], divisor))
            known = self._file.tensors[index].constant
            if known and isinstance(made, Learned) and isinstance(by, Learned):
                ends, dtype = tf.unstack(ranges[by.row]), self._plan.dtype
                step = range_grid(*ends, dtype, self._plan.symmetric).scale
                limit = tf.math.divide_no_nan(tf.reduce_max(tf.abs(self._real(index))), step)
                limited = tf.clip_by_value(ranges[made.row], -limit, limit)
                ranges = tf.tensor_scatter_nd_update(ranges, [[made.row]], limited[tf.newaxis])
        return ranges

    def integers(self):
        """Return the numbers."""
        plan = self._plan
        halves = {
            place: tf.cast(self._real(self._graph.tensor_at(place)), tf.float16)
            for place, numbers in plan.kernels.items()
            if numbers.bits == 16
        }
        for place, numbers in plan.constants.items():
            self._constants[place] = self._constant(place, numbers)
        for place, (data, kernel) in plan.biases.items():
            self._constants[place] = self._bias(place, data, kernel)
        for numbers in [*plan.tensors.values(), *plan.reads.values()]:
            self._grid(numbers)
        made = {*self._constants, *halves}
        left = {
            i
            for operation in self._file.operations
            for position, i in enumerate(operation.inputs)
            if (operation.index, position) not in made
        }
        reals = {index: self._real(index) for index in self._graph.derivations if index in left}
        return GraphIntegers(self._grids, self._constants, halves, reals)

    def _real(self, index):
        """Return the real values of a constant."""
        derivation = self._graph.derivations.get(index)
        if derivation is not None:
            return derivation.compute(self._operands)
        return tf.constant(constant_value(self._graph.model, self._file.tensors[index]))

    def _grid(self, numbers: Numbers) -> Grid | None:
        """Return the grid of a kind of numbers, None for floats."""
        if numbers not in self._grids:
            if isinstance(numbers, Learned):
                scales, zero_points = self._learned
                grid = Grid(scales[numbers.row], zero_points[numbers.row], self._plan.dtype)
            elif isinstance(numbers, Fixed):
                ends = map(tf.constant, (numbers.scale, numbers.zero_point))
                grid = Grid(*ends, self._plan.dtype)
            elif isinstance(numbers, CellState):
                grid = cell_grid(*tf.unstack(self._ranges[numbers.row]))
            elif isinstance(numbers, Dividend):
                grid = self._dividend_grid(numbers)
            elif isinstance(numbers, OfTable):
                grid = self._constants[numbers.place].grid._replace(dtype=self._plan.dtype)
            else:
                return None
            self._grids[numbers] = grid
        return self._grids[numbers]

    def _dividend_grid(self, numbers: Dividend) -> Grid:
        """Return the grid on which the smallest quotient is half a step."""
        own, divisor, quotient = map(
            self._grid, (numbers.dividend, numbers.divisor, numbers.quotient)
        )
        lowest, highest = integer_range(own.dtype)
        largest = tf.maximum(highest - divisor.zero_point, divisor.zero_point - lowest)
        coarse = tf.cast(largest, tf.float32) * divisor.scale * quotient.scale * _HALF_A_STEP
        if self._plan.symmetric:
            return own._replace(scale=tf.maximum(own.scale, coarse))
        below = tf.cast(own.zero_point - lowest, tf.float32)
        below *= tf.minimum(1.0, tf.math.divide_no_nan(own.scale, coarse))
        zero_point = tf.cast(tf.round(below), tf.int32) + lowest
        return Grid(tf.maximum(own.scale, coarse), zero_point, own.dtype)

    @functools.cached_property
    def _learned(self):
        """The scales and the zero points of all learned grids, made at once."""
        ends = self._ranges[:, 0], self._ranges[:, 1]
        grid = range_grid(*ends, self._plan.dtype, self._plan.symmetric)
        zero_points = tf.broadcast_to(grid.zero_point, tf.shape(grid.scale))
        count = self._ranges.shape[0]
        return tf.unstack(grid.scale, count), tf.unstack(zero_points, count)

    def _kernel(self, place, numbers: KernelNumbers, least=0.0) -> Integers:
        """Return the integers of a kernel, those that were trained where that is so."""
        index = self._graph.tensor_at(place)
        derivation = self._graph.derivations.get(index)
        trained = self._trained_of(derivation)
        if trained is not None and trained.kernel.scheme.weight_bits == numbers.bits:
            many = trained.kernel.scale_axes is not None
            if not many and (numbers.axis is not None or derivation.factor is None):
                return self._trained_kernel(derivation, numbers, trained.scales(), least)
            if many and numbers.axis is not None and derivation.channels is not None:
                scales = tf.gather(trained.scales(), derivation.channels)
                return self._trained_kernel(derivation, numbers, scales, least)
        if numbers.scales:
            return integers_on(self._real(index), numbers.scales, numbers.bits, numbers.axis)
        return nearest_integers(self._real(index), numbers.bits, numbers.axis, least)

    def _trained_of(self, derivation) -> TrainedKernel | None:
        """Return the kernel whose rounding was trained that a constant is a copy of."""
        if not isinstance(derivation, FoldedKernel) or len(derivation.weights) != 1:
            return None
        return self._trained.get(derivation.weights[0])

    def _trained_kernel(self, derivation, numbers, scale, least):
        """Round a kernel with the step sizes that were trained, in the order of the file."""
        real = derivation.arranged(self._operands[derivation.operand])
        factor = () if derivation.factor is None else (derivation.factor(self._operands),)
        integers, scale = _on_trained_steps(
            real, scale, least, *factor, bits=numbers.bits, axis=numbers.axis
        )
        integers.set_shape(derivation.shape)
        scale.set_shape([] if numbers.axis is None else [derivation.shape[numbers.axis]])
        grid = Grid(scale, tf.constant(0), f"INT{numbers.bits}", numbers.axis or 0)
        return Integers(integers, grid)

    def _constant(self, place, numbers: Numbers | None) -> Integers:
        """Return a constant on a grid that it shares, or on one of its own values."""
        index = self._graph.tensor_at(place)
        real, margin = self._real(index), self._graph.margins.get(index)
        if numbers is not None:
            grid = self._grid(numbers)
            return Integers(_on_grid(real, grid), grid)
        if margin is not None:
            real = without_masks(real, margin)
        settings = {"dtype": self._plan.dtype, "symmetric": self._plan.symmetric}
        values, scale, zero_point = _on_own_grid(real, **settings, may_mask=margin is None)
        values.set_shape(real.shape)
        scale.set_shape([])
        zero_point.set_shape([])
        return Integers(values, Grid(scale, zero_point, self._plan.dtype))

    def _bias(self, place, data, kernel) -> Integers:
        """Return a bias in the unit of the sums that it is added to."""
        operation = self._file.operations[data[0]]
        grid = self._grid(self._plan.form(operation, data[1]))
        if kernel in self._constants:
            weights = self._constants[kernel].grid
        else:
            weights = self._grid(self._plan.form(operation, kernel[1]))
        dtype = "INT32" if self._plan.dtype == "INT8" else "INT64"
        real = self._real(self._graph.tensor_at(place))
        values, unit = _in_units(real, grid.scale, weights.scale, dtype=dtype)
        values.set_shape(real.shape)
        unit.set_shape(weights.scale.shape)
        return Integers(values, Grid(unit, tf.constant(0), dtype))


def filling_of(graph: DeployedGraph, numbers: GraphIntegers) -> Filling:
    """Describe how the main graph of a file is filled with its numbers.

    Raises a ValueError that names a layer whose kernel cannot compute between its scales.
    """
    plan, file = graph.plan, graph.file
    _require_computable_scales(graph, numbers)
    grids = {
        form: Storage(grid.dtype, (float(grid.scale),), (int(grid.zero_point),))
        for form, grid in numbers.grids.items()
    }
    storages = {(0, index): grids[form] for index, form in plan.tensors.items() if form in grids}
    reads = {
        (0, *place): _FLOAT if isinstance(form, Float) else grids[form]
        for place, form in plan.reads.items()
    }
    for index, value in numbers.reals.items():
        storages[0, index] = Storage("FLOAT32", values=value.numpy())
    for place, half in numbers.halves.items():
        storages[0, graph.tensor_at(place)] = Storage("FLOAT16", values=half.numpy())
        reads[0, *place] = _FLOAT
    readers = collections.Counter(i for operation in file.operations for i in operation.inputs)
    readers.update(file.outputs)
    by_tensor = collections.defaultdict(dict)
    for place in sorted(numbers.constants):
        form = _of_integers(numbers.constants[place])
        by_tensor[graph.tensor_at(place)][0, *place] = form
    for index, forms in by_tensor.items():
        first, *others = forms.values()
        if len(forms) == readers[index] and all(
            form.key == first.key and np.array_equal(form.values, first.values) for form in others
        ):
            storages[0, index] = first
        else:
            reads |= forms
    intermediates = {
        (0, operation.index): inner_storages(storages[0, operation.outputs[0]])
        for operation in file.operations
        if operation.name == FUSED_LSTM and (0, operation.outputs[0]) in storages
    }
    return Filling(storages, reads, intermediates=intermediates)


def _of_integers(integers: Integers) -> Storage:
    """Return the form of a constant."""
    values, grid = np.asarray(integers.values), integers.grid
    scales = np.ravel(np.asarray(grid.scale, np.float32))
    zero_points = np.full(scales.size, int(grid.zero_point), np.int64)
    values = values.astype(numpy_type(grid.dtype))
    return Storage(grid.dtype, scales, zero_points, grid.axis, values)


def _require_computable_scales(graph, numbers) -> None:
    """Check that no kernel would end the process that runs the file, because of its scales."""
    plan = graph.plan
    for operation in graph.file.operations:
        output = numbers.grids.get(plan.tensors.get(next(iter(operation.outputs), -1)))
        if output is None:
            continue
        read = []
        for position, index in enumerate(operation.inputs):
            constant = numbers.constants.get((operation.index, position))
            grid = constant.grid if constant else numbers.grids.get(plan.form(operation, position))
            if index >= 0 and grid is not None and not np.ndim(grid.scale):
                read.append(float(grid.scale))
        if read and not accepts_scales(operation.name, plan.dtype, read, float(output.scale)):
            raise ValueError(
                f"Layer {graph.layer_of(operation.index)!r} computes {operation.name} from numbers "
                f"with steps of {max(read):.3g} to one of {float(output.scale):.3g}, which its "
                "kernel cannot: it would end the program that runs the file. Keep its inputs in "
                "the range of its output, with a clip for instance."
            )
