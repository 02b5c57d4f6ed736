"""Adaptive rounding: integers of the weights chosen by what layers compute (GPTQ).

Weights are rounded input by input, and the inputs that follow compensate the error of each
(Frantar et al., "GPTQ", 2022, https://arxiv.org/abs/2210.17323). Before that, the weights are
fitted to the float outputs on inputs that are quantized already.

Arrays have a first axis of groups: a depthwise layer has one matrix per channel.
"""

import dataclasses
import functools

import numpy as np

from tfcompress.keras_graph.linear_layers import LinearLayer, float64
from tfcompress.post_training.report import StepReport
from tfcompress.post_training.session import Session
from tfcompress.tflite.numerics import sqnr

_PARTS = 16  # of the positions, in their order; every fourth validates what the others choose
MAX_INPUTS = 8192  # per output: the mean products of more do not fit into memory


def gram(rows: np.ndarray) -> np.ndarray:
    """Return the mean products (groups, n, n) of inputs (positions, groups, n)."""
    by_group = rows.astype(np.float64).transpose(1, 0, 2)
    return np.matmul(by_group.transpose(0, 2, 1), by_group) / len(rows)


def damped(products: np.ndarray, damping: float) -> np.ndarray:
    """Add a fraction of its mean to the diagonal of ``gram``, and a little if inputs are zero."""
    mean = np.trace(products, axis1=1, axis2=2)[:, None, None] / products.shape[-1]
    return products + np.eye(products.shape[-1]) * (damping * mean + 1e-12)


def fitted(matrices: np.ndarray, products: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Change matrices (groups, n, m) as little as needed to approach the wanted outputs.

    ``products`` (groups, n, n) is damped: the damping is the cost of a change. ``wanted``
    (groups, n, m) are the mean products of the inputs and what the outputs lack.
    """
    return matrices + np.linalg.solve(products, wanted)


def round_compensating(
    matrices: np.ndarray,
    products: np.ndarray,
    steps: np.ndarray,
    levels: int,
    fixed: np.ndarray,
) -> np.ndarray:
    """Round matrices (groups, n, m) to integers so that the outputs change least.

    ``products`` are the damped mean products of the inputs, ``steps`` (groups, m) the step of each
    output, ``levels`` the largest integer. Weights marked in ``fixed`` (groups, n, m) are rounded
    to the nearest integer and compensate no errors.

    Example:
    >>> products = np.array([[[1.0, 0.9], [0.9, 1.0]]])
    >>> weights, steps = np.array([[[1.4], [0.4]]]), np.ones((1, 1))
    >>> round_compensating(weights, products, steps, 127, np.zeros((1, 2, 1), bool))[0, :, 0]
    array([1., 1.])
    """
    # Inputs of the largest energy come first: most others are left to compensate their errors.
    order = np.argsort(-np.diagonal(products, axis1=1, axis2=2), axis=1, kind="stable")
    rows = order[:, :, None]
    weights = np.take_along_axis(matrices.astype(np.float64), rows, 1)
    nearest = np.take_along_axis(np.where(fixed, matrices, np.nan), rows, 1)
    sorted_products = np.take_along_axis(np.take_along_axis(products, rows, 1), order[:, None], 2)
    inverse = np.linalg.inv(sorted_products)
    upper = np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2).transpose(0, 2, 1)
    integers = np.empty_like(weights)
    for i in range(weights.shape[1]):
        target = np.where(np.isnan(nearest[:, i]), weights[:, i], nearest[:, i])
        integers[:, i] = np.clip(np.round(target / steps), -levels, levels)
        error = (weights[:, i] - integers[:, i] * steps) / upper[:, i, i, None]
        weights[:, i + 1 :] -= upper[:, i, i + 1 :, None] * error[:, None]
    result = np.empty_like(integers)
    np.put_along_axis(result, rows, integers, 1)
    return result


def largest_of_each_scale(matrices: np.ndarray, scale_indices: np.ndarray) -> np.ndarray:
    """Mark one largest weight of each scale, which determines the step and must not change.

    ``scale_indices`` (groups, m) is the scale of each output of the matrices (groups, n, m).
    """
    scales = np.broadcast_to(scale_indices[:, None], matrices.shape).ravel()
    # Sorted by scale, then by magnitude: the last of each scale is its largest.
    order = np.lexsort((np.abs(matrices).ravel(), scales))
    ends = np.append(scales[order][1:] != scales[order][:-1], True)
    marked = np.zeros(matrices.size, bool)
    marked[order[ends]] = True
    return marked.reshape(matrices.shape)


@dataclasses.dataclass(frozen=True)
class Grid:
    """The grid of a layer's weights: each output's scale index (groups, m); the largest integer."""

    scale_indices: np.ndarray
    levels: int

    def steps(self, matrices: np.ndarray) -> np.ndarray:
        """Return the step of each output (groups, m) from the largest weights."""
        limits = np.zeros(self.scale_indices.max() + 1)
        np.maximum.at(limits, self.scale_indices, np.abs(matrices).max(1))
        return np.where(limits > 0, limits / self.levels, 1.0)[self.scale_indices]

    def nearest(self, matrices: np.ndarray) -> np.ndarray:
        """Return the matrices (groups, n, m) rounded to the nearest."""
        steps = self.steps(matrices)[:, None]
        return np.round(matrices / steps) * steps


@dataclasses.dataclass(frozen=True)
class Samples:
    """Inputs of a layer and its wanted outputs."""

    rows: np.ndarray  # float array (positions, groups, n)
    wanted: np.ndarray  # float array (positions, groups, m), the bias included
    centered: bool  # whether a bias can be added to each output

    @classmethod
    def of(cls, linear: LinearLayer, rows: np.ndarray, outputs: np.ndarray) -> "Samples":
        """Return the samples of a layer."""
        wanted = outputs.astype(np.float64).reshape(len(outputs), linear.groups, -1)
        return cls(rows.astype(np.float64), wanted, linear.bias is not None)

    @property
    def inputs(self) -> np.ndarray:
        """The rows, minus their mean if a bias compensates it."""
        return self.rows - self.rows.mean(0) if self.centered else self.rows

    @functools.cached_property
    def products(self) -> np.ndarray:
        """The mean products of the inputs (groups, n, n)."""
        return gram(self.inputs)

    def split(self) -> tuple["Samples", "Samples"]:
        """Return three quarters to choose on, and a quarter of other examples to validate on."""
        count = len(self.rows)
        held_out = np.arange(count) * min(_PARTS, count) // count % 4 == 3
        return (
            dataclasses.replace(self, rows=self.rows[~held_out], wanted=self.wanted[~held_out]),
            dataclasses.replace(self, rows=self.rows[held_out], wanted=self.wanted[held_out]),
        )

    def missing(self, matrices: np.ndarray) -> np.ndarray:
        """Return what the outputs of some matrices lack (positions, groups, m)."""
        return self.wanted - np.matmul(self.rows.transpose(1, 0, 2), matrices).transpose(1, 0, 2)

    def products_with_missing(self, matrices: np.ndarray) -> np.ndarray:
        """Return the mean products of the inputs and what the outputs lack (groups, n, m)."""
        missing = self.missing(matrices).transpose(1, 0, 2)
        return np.matmul(self.inputs.transpose(1, 2, 0), missing) / len(self.rows)

    def best_bias(self, matrices: np.ndarray) -> np.ndarray:
        """Return the bias (outputs,) that fits some matrices."""
        return self.missing(matrices).mean(0).ravel()

    def error(self, matrices: np.ndarray) -> float:
        """Return the sum of squared errors with the best bias."""
        return float(np.sum(np.square(self._errors(matrices))))

    def signal_to_noise(self, matrices: np.ndarray) -> float:
        """Return the ratio of the wanted outputs to the errors with the best bias, in dB."""
        return sqnr(self.wanted, self.wanted - self._errors(matrices))

    def _errors(self, matrices: np.ndarray) -> np.ndarray:
        """Return the errors with the best bias (positions, groups, m)."""
        missing = self.missing(matrices)
        if self.centered:
            missing = missing - missing.sum(0) / max(len(missing), 1)
        return missing


def compensated(matrices: np.ndarray, grid: Grid, samples: Samples, damping: float) -> np.ndarray:
    """Fit matrices (groups, n, m) to samples, and round them so that errors compensate each other.

    The largest weight of each scale stays the largest, and zeros stay zero. ``damping`` weighs the
    present weights against the samples.
    """
    products = damped(samples.products, damping)
    zero = matrices == 0
    if not zero.any():
        matrices = fitted(matrices, products, samples.products_with_missing(matrices))
    steps = grid.steps(matrices)
    fixed = zero | largest_of_each_scale(matrices, grid.scale_indices)
    return round_compensating(matrices, products, steps, grid.levels, fixed) * steps[:, None]


@dataclasses.dataclass(frozen=True)
class RoundWeights:
    """The step "round": adaptive rounding of the weights, layer by layer.

    Each layer is fitted to its float outputs on the inputs that the quantized layers before it
    give. Its weights are then rounded input by input, and those that follow compensate the error. A
    quarter of the positions is held out to choose the damping, or rounding to the nearest if that
    is better. The bias is fitted with the weights. Zeros stay zero.

    Attributes:
        dampings: candidates for the weight of the present kernel against the data, relative to the
            mean energy of an input.

    Raises:
        ValueError: there is no damping, or one is not positive.

    Method: Frantar et al., "GPTQ", 2022, https://arxiv.org/abs/2210.17323; fitted to quantized
    inputs as in Nagel et al., "Up or Down? Adaptive Rounding", 2020,
    https://arxiv.org/abs/2004.10568, section 3.4.
    """

    dampings: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)

    def __post_init__(self) -> None:
        if not self.dampings or not all(damping > 0 for damping in self.dampings):
            raise ValueError(
                f"`dampings` must be positive numbers. Received: dampings={self.dampings!r}"
            )

    def cost(self, session: Session) -> float:
        """Estimate the passes over the data that the step makes."""
        return 2 + len(session.linears) / 2

    def apply(self, session: Session) -> StepReport:
        """Round the kernels of the session's model."""
        session.calibrate()
        wanted = session.reference_outputs()
        changed, unchanged = [], dict(session.skipped)
        for linear in session.linears:
            if not np.isfinite(session.grids.levels(linear)):
                unchanged[linear.path] = "its weights are not rounded to integers"
            elif linear.kernel.shape.num_elements() // linear.outputs > MAX_INPUTS:
                unchanged[linear.path] = f"its outputs have more than {MAX_INPUTS} weights each"
            else:
                rows = session.quantized_rows(linear)
                samples = Samples.of(linear, rows, wanted.pop(linear.path))
                self._round(linear, session, samples)
                changed.append(linear.path)
        return StepReport("round", tuple(changed), unchanged)

    def _round(self, linear: LinearLayer, session: Session, samples: Samples) -> None:
        """Round one layer with the damping that is best on held-out samples."""
        matrices = linear.to_matrices(float64(linear.kernel))
        indices = session.grids.scale_indices(linear).reshape(linear.groups, -1)
        grid = Grid(indices, int(session.grids.levels(linear)))
        choosing, held_out = samples.split()
        errors: dict[float | None, float] = {None: held_out.error(grid.nearest(matrices))}
        for damping in self.dampings if len(held_out.rows) else ():
            errors[damping] = held_out.error(compensated(matrices, grid, choosing, damping))
        del choosing  # its products are large, and those of all samples may follow
        best = min(errors, key=lambda damping: errors[damping])
        if best is None:
            rounded = grid.nearest(matrices)
        else:
            rounded = compensated(matrices, grid, samples, best)
        linear.kernel.assign(linear.from_matrices(rounded))
        if linear.bias is not None:
            linear.bias.assign(samples.best_bias(rounded))
