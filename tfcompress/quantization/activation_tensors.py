"""Rounding the tensors that the device stores, during one run of a model."""

from collections.abc import Collection

import keras
import tensorflow as tf

from tfcompress.compat.keras_logits import attach_logits, logits_behind
from tfcompress.keras_graph.hooks import HookPoint
from tfcompress.quantization.arithmetic.fake_quantization import (
    fake_quantize_activations,
    grid_levels,
)
from tfcompress.quantization.arithmetic.learnt_steps import quantize_with_learnt_step, usable_step
from tfcompress.quantization.arithmetic.masks import without_masks
from tfcompress.quantization.arithmetic.observers import MovingAverage, wider_range
from tfcompress.quantization.deployed_graph import PlacementError
from tfcompress.quantization.phase import Phase
from tfcompress.quantization.placement import Placement
from tfcompress.quantization.scheme import Scheme

# What sigmoid, softmax and tanh give where activations have 16 bits: the scale is 2**-15.
_FIXED_16_BITS = (-32767 / 32768, 32767 / 32768)


class ActivationTensors:
    """One run of a model: rounds each stored tensor at its point, and lets its range follow.

    Args:
        placement: which points have a range.
        scheme: bits and symmetry of the activations.
        ranges: float32 tensor (rows, 2), the ranges before the run.
        phase: what the run does.
        observer: how ranges follow, where ``phase.ranges_move``.
        steps: float32 tensor (rows,) of trained step sizes; ``None`` if the ranges decide.
        fake_quantize: rounds a tensor to a range; see ``fake_quantize_activations``.
        unrounded: points with a fixed range whose tensors are left as they are.

    Attributes:
        ranges: list of float32 tensors (2,), the ranges as they are now.
    """

    def __init__(
        self,
        placement: Placement,
        scheme: Scheme,
        ranges,
        phase: Phase,
        observer: MovingAverage,
        steps=None,
        fake_quantize=fake_quantize_activations,
        unrounded: Collection[HookPoint] = (),
    ):
        self._rows = placement.rows()
        self._fixed = dict(placement.fixed)
        self._margins = dict(placement.scores)
        self._bits = scheme.activation_bits
        self._symmetric = scheme.symmetric_activations
        self._phase = phase
        self._observer = observer
        self._steps = steps
        self._fake_quantize = fake_quantize
        self._unrounded = unrounded
        self._left: dict[int, tf.Tensor] = {}
        self._before = tf.unstack(ranges, num=len(placement.learnt))
        self._observed = {}
        self._met = set()
        self._made: dict[int, tuple] = {}
        self.ranges = list(self._before)

    def tap(self, point, tensor, observed=None, stored=None):
        """Return the tensor as the device stores it.

        Args:
            point: where the model hands it out.
            tensor: the tensor.
            observed: returns what the range is to follow in its place.
            stored: returns the tensor as 8-bit constants make it, which the device computes with
                if it stores the tensor.

        Returns:
            The tensor, rounded if the point has a range.
        """
        self._met.add(point)
        row = self._rows.get(point)
        if row is None:
            fixed = self._fixed.get(point)
            if fixed is None or not self._phase.rounding:
                return tensor
            return self._in_fixed_range(point, tensor, fixed)
        if stored is not None and self._bits == 8 and self._phase.rounding:
            tensor = stored()
        if self._steps is not None:
            return self._with_learnt_step(row, tensor) if self._phase.rounding else tensor
        if self._phase.ranges_move:
            seen = tensor if observed is None else observed()
            if point in self._margins:
                seen = without_masks(seen, self._margins[point])
            self._follow(row, seen)
        return self._rounded(tensor, self.ranges[row]) if self._phase.rounding else tensor

    def require_met(self, model: keras.Model) -> None:
        """Check, while a run is traced and before it is run, that it has met every point.

        Args:
            model: the model that was run.

        Raises:
            PlacementError: a layer computes otherwise in this run than when its tensors were
                placed, in training than in inference for instance.
        """
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
        """Describe the grid of a tensor that ``tap`` has rounded.

        Returns:
            (step, middle): the step, and the real number whose integer is 0; float32 scalars. None
            if the tensor is no such one.
        """
        if id(tensor) not in self._made:
            return None
        smallest, largest = tf.unstack(self._made[id(tensor)][1])
        lowest, _, step = grid_levels(smallest, largest, self._bits, self._symmetric)
        integers = 2.0 ** (self._bits - 1) - self._symmetric
        return step, (lowest + integers) * step

    def _in_fixed_range(self, point, tensor, fixed):
        """Round to a range that the operation defines; a loss still finds the logits behind it."""
        if point in self._unrounded or id(tensor) in self._left:  # handed out again
            self._left[id(tensor)] = tensor
            rounded = tensor
        else:
            rounded = self._rounded(tensor, _FIXED_16_BITS if self._bits == 16 else fixed)
        logits = logits_behind(tensor)
        if logits is not None:
            attach_logits(rounded, logits)
        return rounded

    def _rounded(self, tensor, value_range):
        rounded = self._fake_quantize(tensor, value_range, self._bits, self._symmetric)
        self._made[id(rounded)] = (rounded, value_range)  # kept alive: known by its identity
        return rounded

    def _follow(self, row, tensor):
        observed = self._observer.observe(tensor, self._bits, self._symmetric)
        if row in self._observed:  # another tensor of the same scale
            observed = wider_range(self._observed[row], observed)
        self._observed[row] = observed
        self.ranges[row] = self._observer.follow(self._before[row], observed)

    def _with_learnt_step(self, row, tensor):
        smallest, largest = tf.unstack(self._before[row])
        lowest, highest, _ = grid_levels(smallest, largest, self._bits, self._symmetric)
        step = usable_step(self._steps[row])
        if self._phase.ranges_move:
            count = tf.size(tensor) // tf.shape(tensor)[0]
            return quantize_with_learnt_step(tensor, step, lowest, highest, count)
        return self._rounded(tensor, tf.stack([lowest * step, highest * step]))


def first_steps(ranges, scheme: Scheme):
    """Return the step sizes that follow from ranges.

    Args:
        ranges: float32 tensor (rows, 2).
        scheme: bits and symmetry of the activations.

    Returns:
        float32 tensor (rows,).
    """
    smallest, largest = ranges[:, 0], ranges[:, 1]
    return grid_levels(smallest, largest, scheme.activation_bits, scheme.symmetric_activations)[2]


def stepped_ranges(ranges, steps, scheme: Scheme):
    """Return the ranges that trained step sizes make of those that they started from.

    Args:
        ranges: float32 tensor (rows, 2).
        steps: float32 tensor (rows,).
        scheme: bits and symmetry of the activations.

    Returns:
        float32 tensor (rows, 2).
    """
    lowest, highest, _ = grid_levels(
        ranges[:, 0], ranges[:, 1], scheme.activation_bits, scheme.symmetric_activations
    )
    steps = usable_step(steps)
    return tf.stack([lowest * steps, highest * steps], axis=1)
