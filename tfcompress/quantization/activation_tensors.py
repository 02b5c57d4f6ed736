"""Rounding the tensors that the device stores, during one run of a model."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Container, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfcompress.backends import first_rows, graph_operation
from tfcompress.compat.keras_logits import attach_logits, logits_behind
from tfcompress.keras_graph.hooks import Hook, HookPoint
from tfcompress.keras_graph.inner_tensors import kind_of
from tfcompress.quantization.arithmetic.fake_quantization import (
    behind_rectifier,
    fake_quantize_activations,
    grid_levels,
    quantize_with_learned_step,
    usable_step,
)
from tfcompress.quantization.arithmetic.masks import without_masks
from tfcompress.quantization.arithmetic.observers import (
    NO_RANGE,
    MovingAverage,
    follows_extremes,
    observed_range,
    wider_range,
)
from tfcompress.quantization.placement import Placement, PlacementError
from tfcompress.quantization.scheme import Scheme

# Functions that are infinite, or endlessly steep, at zero, and their value there.
_HUGE, _LARGEST_HALF = 1e9, 65504.0
_ALL = np.int32(2**31 - 1)  # more examples than any batch has
_SINGULARITIES = {"Log": (ops.log, -_HUGE), "Rsqrt": (ops.rsqrt, _HUGE), "Sqrt": (ops.sqrt, 0.0)}


@dataclasses.dataclass(frozen=True)
class TrainingMode:
    """Which parts of quantization-aware training are at work."""

    # Whether weights and activations are rounded; without it the model computes in float and its
    # ranges merely follow.
    rounding: bool = True
    # Whether ranges follow the data. Without it a step is cheaper: nothing is observed.
    ranges_move: bool = True
    # Whether BatchNormalization normalizes by the batch and moves its statistics; without it, it
    # uses them as they are, as the deployed model does.
    statistics_move: bool = True


class ActivationTensors:
    """One run of a model: rounds each stored tensor at its point, and lets its range follow.

    ``ranges`` are those before the run, float32 (rows, 2); as an attribute, a list of those that it
    has moved. ``steps`` are trained step sizes, float32 (rows,). The tensors at points
    ``unrounded``, whose range is fixed, are left as they are.
    ``moving``, a bool scalar, tells whether ranges follow in a step that is traced for both.
    ``known`` are the ranges as an array, if rounding to them may stand for rectifiers.
    """

    def __init__(
        self,
        placement: Placement,
        scheme: Scheme,
        ranges,
        mode: TrainingMode,
        observer: MovingAverage,
        steps=None,
        fake_quantize: Callable = fake_quantize_activations,
        unrounded: Collection[HookPoint] = (),
        moving: Any = None,
        known: np.ndarray | None = None,
    ):
        self._rows = placement.rows()
        self._known = known
        self._shared = {self._rows[point] for point, _ in placement.shared}
        self._fixed, self._margins = dict(placement.fixed), dict(placement.scores)
        self._bits, self._symmetric = scheme.activation_bits, scheme.symmetric_activations
        self._mode, self._observer, self._steps = mode, observer, steps
        self._fake_quantize, self._unrounded = fake_quantize, unrounded
        self._left: dict[int, Any] = {}
        rows = len(placement.learned)
        ranges = ops.reshape(ranges, (rows, 2))  # a shape that is known
        self._before = ops.unstack(ranges, rows)
        self._observed = {}
        self._followers = observer.followers(ranges, moving) if rows else []
        # Without following, one example is looked at in vain: the rest is cut off without a copy.
        self._examples = None if moving is None else ops.where(moving, _ALL, [1])
        self._met = set()
        self._made: dict[int, tuple] = {}
        self.ranges = list(self._before)

    def tap(self, point: HookPoint, tensor, observed=None, stored=None, of=None):
        """Return a tensor as the device stores it: rounded if its point has a range.

        A function that computes the tensor comes back where its point has none.
        ``observed`` returns what the range is to follow in its place, ``stored`` the tensor as
        8-bit constants make it, which the device computes with if it stores the tensor. ``of`` is
        for ``around_singularities``.
        """
        del of
        self._met.add(point)
        row = self._rows.get(point)
        if row is None:
            fixed = self._fixed.get(point)
            if fixed is None or not self._mode.rounding:
                return tensor
            return self._in_fixed_range(point, _computed(tensor), fixed)
        if stored is not None and self._bits == 8 and self._mode.rounding:
            tensor = stored()
        tensor = _computed(tensor)
        if self._steps is not None:
            return self._with_learned_step(row, tensor) if self._mode.rounding else tensor
        if self._mode.ranges_move:
            seen = tensor if observed is None else observed()
            if point in self._margins:
                seen = without_masks(seen, self._margins[point])
            self._follow(row, seen)
        if not self._mode.rounding:
            return tensor
        how = {"rectifies": True} if self._rectifies(row, tensor) else {}
        return self._rounded(tensor, self.ranges[row], **how)

    def _rectifies(self, row, tensor):
        """Tell whether rounding to a range clips all that a rectifier does, now and ever.

        Observed behind a rectifier, a range begins at zero and ends where that does; others come
        with models of TFMOT.
        """
        behind = behind_rectifier(tensor)
        if behind is None or self._known is None or self._symmetric or row in self._shared:
            return False
        smallest, largest = self._known[row]
        return smallest == 0.0 and largest <= behind[1]

    def require_met(self, model: keras.Model) -> None:
        """Check, while a run is traced and before it is run, that it has met every point."""
        missed = {*self._rows, *self._fixed} - self._met
        if missed:
            layers = sorted({point.path for point in missed})
            raise PlacementError(
                f"Model {model.name!r} has layers that do not make the tensors in this run that "
                f"they make in inference, so that these cannot be rounded: {', '.join(layers)}. "
                "Let their `call` make the same operations in training and in inference, or leave "
                "them in float with `layers=`."
            )

    def grid_of(self, tensor):
        """Return what computes the grid of a tensor that ``tap`` has rounded, None for another.

        That is its step and the number whose integer is 0, float32 scalars.
        """
        made = self._made.get(id(tensor))
        return None if made is None else functools.partial(self._grid, made[1])

    def _grid(self, value_range):
        """Compute the step of a range's grid, and the number whose integer is 0."""
        smallest, largest = ops.unstack(ops.convert_to_tensor(value_range), 2)
        lowest, _, step = grid_levels(smallest, largest, self._bits, self._symmetric)
        integers = 2.0 ** (self._bits - 1) - self._symmetric
        return step, (lowest + integers) * step

    def _in_fixed_range(self, point, tensor, fixed):
        """Round to a range that the operation defines; a loss still finds the logits behind it."""
        if point in self._unrounded or id(tensor) in self._left:  # handed out again
            self._left[id(tensor)] = tensor
            rounded = tensor
        else:
            rounded = self._rounded(tensor, fixed)
        logits = logits_behind(tensor)
        if logits is not None:
            attach_logits(rounded, logits)
        return rounded

    def _rounded(self, tensor, value_range, **how):
        """Round a tensor to a range."""
        rounded = self._fake_quantize(tensor, value_range, self._bits, self._symmetric, **how)
        self._made[id(rounded)] = (rounded, value_range)  # kept alive: known by its identity
        return rounded

    def _follow(self, row, tensor):
        """Let a range follow a tensor."""
        if follows_extremes(self._observer):
            observed = observed_range(tensor, self._examples)
        else:
            tensor = ops.stop_gradient(tensor)
            if self._examples is not None and len(tensor.shape):
                tensor = first_rows(tensor, self._examples)
            observed = self._observer.observe(tensor, self._bits, self._symmetric)
        if row in self._observed:  # another tensor of the same scale
            observed = wider_range(self._observed[row], observed)
        self._observed[row] = observed
        self.ranges[row] = self._followers[row](observed)

    def _with_learned_step(self, row, tensor):
        """Round a tensor to multiples of a trained step."""
        smallest, largest = ops.unstack(self._before[row], 2)
        lowest, highest, start = grid_levels(smallest, largest, self._bits, self._symmetric)
        step = usable_step(self._steps[row], start)
        if self._mode.ranges_move:
            count = ops.size(tensor) // ops.shape(tensor)[0]
            return quantize_with_learned_step(tensor, step, lowest, highest, count)
        return self._rounded(tensor, ops.stack([lowest * step, highest * step]))


def _computed(tensor):
    """Return a tensor, or what a function of no arguments computes."""
    return tensor() if callable(tensor) else tensor


def has_singularities(operation_types: Collection[str]) -> bool:
    """Tell whether a model needs ``around_singularities``, which knows TensorFlow's in graphs."""
    return not _SINGULARITIES.keys().isdisjoint(operation_types)


def around_singularities(tap: Hook, ranged: Container[HookPoint]) -> Hook:
    """Make what a tap is offered finite at ``ranged`` points, and its gradient too.

    Rounding brings small numbers to zero, where some functions are infinite. The kernels give the
    end of their output's range there. So does the rounding of any huge number, which the range must
    not follow, nor the gradient see.
    """

    def guarded(point, tensor, of=None, **how):
        kind, x = _function_of(point, tensor, of)
        if kind not in _SINGULARITIES or point not in ranged:
            return tap(point, tensor, **how)
        function, value = _SINGULARITIES[kind]
        is_zero = ops.equal(x, 0.0)
        # Chosen before and after: the gradient of what is not chosen would be zero times infinity.
        values = function(ops.where(is_zero, ops.ones_like(x), x))
        dtype = keras.backend.standardize_dtype(x.dtype)
        limit = _LARGEST_HALF if dtype == "float16" else _HUGE
        at_zero = ops.convert_to_tensor(np.clip(value, -limit, limit), dtype)
        how = {"observed": lambda: ops.where(is_zero, ops.zeros_like(values), values)} | how
        return tap(point, ops.where(is_zero, at_zero, values), **how)

    return guarded


def _function_of(point, tensor, of):
    """Return the type of the operation that makes a tensor, and what it was computed of."""
    operation = graph_operation(tensor)
    if operation is None:  # a form told it, see ``graph_roles``
        return (None if of is None else kind_of(point.role)), of
    return operation.type, next(iter(operation.inputs), None)


def first_steps(ranges, scheme: Scheme):
    """Return the step sizes, float32 (rows,), that follow from ranges, float32 (rows, 2)."""
    smallest, largest = ranges[:, 0], ranges[:, 1]
    return grid_levels(smallest, largest, scheme.activation_bits, scheme.symmetric_activations)[2]


def stepped_ranges(ranges, steps, scheme: Scheme):
    """Return the ranges that trained step sizes make of those that they started from."""
    smallest, largest = ranges[:, 0], ranges[:, 1]
    lowest, highest, start = grid_levels(
        smallest, largest, scheme.activation_bits, scheme.symmetric_activations
    )
    steps = usable_step(steps, start)
    return ops.stack([lowest * steps, highest * steps], axis=1)


def unseen(shape, dtype=None) -> Any:
    """Return ranges of tensors that no data was seen of, (rows, 2); a Keras initializer."""
    return ops.tile(ops.convert_to_tensor([NO_RANGE], dtype), (shape[0], 1))


def are_observed(ranges: np.ndarray) -> bool:
    """Tell whether ranges, of shape (rows, 2), have seen data."""
    return not len(ranges) or not bool((ranges[:, 0] > ranges[:, 1]).all())


def require_observed(
    name: str, points: Sequence[HookPoint], ranges: np.ndarray, steps_follow: bool
) -> None:
    """Raise a ValueError that names tensors whose ranges, one a point, are unknown or lost."""
    if not are_observed(ranges):
        raise ValueError(
            f"Model {name!r} has not seen any data since it was made quantization-aware, "
            "so the ranges of its activations are unknown. Train it with `fit`, or call "
            "`calibrate(data)` on some inputs first"
            + (": trained steps start from them." if steps_follow else ".")
        )
    finite = np.isfinite(ranges).all(axis=1)
    lost = [str(point) for point, known in zip(points, finite, strict=True) if not known]
    if lost:
        raise ValueError(
            f"Model {name!r} has met NaN or infinite values in training, so the ranges of "
            f"these tensors are lost: {', '.join(lost)}. Look at the data and the learning "
            "rate; go back to an earlier checkpoint, or call `calibrate(data)`."
        )
