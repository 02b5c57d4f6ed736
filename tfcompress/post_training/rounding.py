"""Rounding weights to the deployed grid by what layers compute, on inputs that are rounded."""

import dataclasses
import functools

import numpy as np

from tfcompress.post_training.compensation import (
    damped,
    fitted,
    gram,
    largest_of_each_scale,
    round_compensating,
)
from tfcompress.post_training.linear import LinearLayer, float64
from tfcompress.post_training.report import StepReport
from tfcompress.post_training.workbench import Workbench

_PARTS = 16  # of the positions, in their order; every fourth judges what the others choose
_MOST_INPUTS = 8192  # of one output: the mean products of more do not fit into memory


@dataclasses.dataclass(frozen=True)
class RoundWeights:
    """The step "round": the integers of the weights, layer after layer, from the input on.

    Each layer is fitted to what it should compute, on the inputs that it is given once the layers
    before it are rounded. Then its weights are rounded one input after the other, and those that
    are still to come take up the error. A quarter of the positions says how far the fit can be
    trusted, and whether rounding to the nearest is better. The bias is fitted with the weights.
    Weights that are zero stay zero.

    Attributes:
        dampings: how much the present weights may count against the data, relative to the mean
            energy of an input; each is tried.

    Raises:
        ValueError: there is no damping, or one is not positive.

    Method: Frantar et al., "GPTQ", 2022, https://arxiv.org/abs/2210.17323; fitted to rounded inputs
    as in Nagel et al., "Up or Down? Adaptive Rounding", 2020, https://arxiv.org/abs/2004.10568,
    section 3.4.
    """

    dampings: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)

    def __post_init__(self):
        if not self.dampings or not all(damping > 0 for damping in self.dampings):
            raise ValueError(
                f"`dampings` are positive numbers. Received: dampings={self.dampings!r}"
            )

    def cost(self, bench: Workbench) -> float:
        """Estimate the passes over the data that the step makes."""
        return 2 + len(bench.linears) / 2

    def apply(self, bench: Workbench) -> StepReport:
        """Round the kernels of the model on a workbench, and say which."""
        bench.calibrate()
        wanted = bench.reference_outputs()
        changed, left = [], dict(bench.others)
        for linear in bench.linears:
            reason = _reason_to_leave(bench, linear)
            if reason is not None:
                left[linear.path] = reason
                continue
            samples = Samples.of(linear, bench.rounded_rows(linear), wanted.pop(linear.path))
            self._round(linear, bench, samples)
            changed.append(linear.path)
        return StepReport("round", tuple(changed), left)

    def _round(self, linear: LinearLayer, bench: Workbench, samples: "Samples") -> None:
        matrices = linear.to_matrices(float64(linear.kernel))
        shared = bench.grids.shared(linear).reshape(linear.groups, -1)
        grid = Grid(shared, int(bench.grids.levels(linear)))
        choosing, judging = samples.split()
        errors = {None: judging.error(grid.nearest(matrices))}
        for damping in self.dampings if len(judging.rows) else ():
            errors[damping] = judging.error(compensated(matrices, grid, choosing, damping))
        del choosing  # its products are large, and those of all samples may follow
        best = min(errors, key=errors.get)
        if best is None:
            rounded = grid.nearest(matrices)
        else:
            rounded = compensated(matrices, grid, samples, best)
        linear.kernel.assign(linear.from_matrices(rounded))
        if linear.bias is not None:
            linear.bias.assign(samples.constant(rounded))


def _reason_to_leave(bench, linear):
    if not np.isfinite(bench.grids.levels(linear)):
        return "its weights are not rounded to integers"
    if linear.kernel.shape.num_elements() // linear.outputs > _MOST_INPUTS:
        return f"each of its outputs has more than {_MOST_INPUTS} weights"
    return None


@dataclasses.dataclass(frozen=True)
class Grid:
    """The grid of a layer's weights.

    Attributes:
        shared: int array (groups, m): which scale each output has.
        levels: the largest integer.
    """

    shared: np.ndarray
    levels: int

    def steps(self, matrices: np.ndarray) -> np.ndarray:
        """Return the step of each output, a float array (groups, m), from the largest weights."""
        limits = np.zeros(self.shared.max() + 1)
        np.maximum.at(limits, self.shared, np.abs(matrices).max(1))
        return np.where(limits > 0, limits / self.levels, 1.0)[self.shared]

    def nearest(self, matrices: np.ndarray) -> np.ndarray:
        """Return the weights (groups, n, m) rounded to the nearest integers."""
        steps = self.steps(matrices)[:, None]
        return np.round(matrices / steps) * steps


@dataclasses.dataclass(frozen=True)
class Samples:
    """What enters a layer, and what it should make of it.

    Attributes:
        rows: float array (positions, groups, n).
        wanted: float array (positions, groups, m), the bias included.
        centred: whether a bias can be added to each output.
    """

    rows: np.ndarray
    wanted: np.ndarray
    centred: bool

    @classmethod
    def of(cls, linear: LinearLayer, rows: np.ndarray, outputs: np.ndarray) -> "Samples":
        """Return the samples of a layer."""
        wanted = outputs.astype(np.float64).reshape(len(outputs), linear.groups, -1)
        return cls(rows.astype(np.float64), wanted, linear.bias is not None)

    @property
    def inputs(self) -> np.ndarray:
        """The rows, less their mean where a bias takes it up."""
        return self.rows - self.rows.mean(0) if self.centred else self.rows

    @functools.cached_property
    def products(self) -> np.ndarray:
        """The mean products of the inputs: a float array (groups, n, n)."""
        return gram(self.inputs)

    def split(self) -> tuple["Samples", "Samples"]:
        """Return three quarters to choose on, and one to judge on, of other examples."""
        count = len(self.rows)
        judging = np.arange(count) * min(_PARTS, count) // count % 4 == 3
        return (
            dataclasses.replace(self, rows=self.rows[~judging], wanted=self.wanted[~judging]),
            dataclasses.replace(self, rows=self.rows[judging], wanted=self.wanted[judging]),
        )

    def missing(self, matrices: np.ndarray) -> np.ndarray:
        """Return what the products of some weights lack: a float array (positions, groups, m)."""
        return self.wanted - np.matmul(self.rows.transpose(1, 0, 2), matrices).transpose(1, 0, 2)

    def constant(self, matrices: np.ndarray) -> np.ndarray:
        """Return the bias (outputs,) that fits some weights."""
        return self.missing(matrices).mean(0).ravel()

    def error(self, matrices: np.ndarray) -> float:
        """Return the sum of the squares of what is missing, once the bias fits."""
        missing = self.missing(matrices)
        if self.centred:
            missing = missing - missing.sum(0) / max(len(missing), 1)
        return float(np.sum(np.square(missing)))


def compensated(matrices: np.ndarray, grid: Grid, samples: Samples, damping: float) -> np.ndarray:
    """Fit the weights of a layer to samples, and round them so that the errors cancel.

    The largest weight of each scale stays the largest, and weights that are zero stay so.

    Args:
        matrices: float array (groups, n, m).
        grid: what they are rounded to.
        samples: what enters the layer.
        damping: how much the present weights count against the samples.

    Returns:
        float array (groups, n, m): multiples of the steps that follow from it.
    """
    products = damped(samples.products, damping)
    zero = matrices == 0
    if not zero.any():
        missing = samples.missing(matrices).transpose(1, 0, 2)
        by_group = samples.inputs.transpose(1, 2, 0)
        matrices = fitted(matrices, products, np.matmul(by_group, missing) / len(samples.rows))
    steps = grid.steps(matrices)
    fixed = zero | largest_of_each_scale(matrices, grid.shared)
    return round_compensating(matrices, products, steps, grid.levels, fixed) * steps[:, None]
