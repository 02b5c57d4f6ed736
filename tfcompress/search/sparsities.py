"""Sparsity by layer: more where the outputs suffer less."""

import itertools
import math

from tfcompress.search.sensitivity import Sensitivity

_STEP = 0.02
_HIGHEST = 0.98


def share_out(table: Sensitivity, sparsity: float) -> dict[str, float]:
    """Share a model's sparsity out among its kernels, so that the sum of errors is small.

    The error of a kernel is taken from the table, and between its levels by a straight line through
    its logarithm. From no zeros on, the kernel goes a step further whose next zeros cost least.

    Args:
        table: what ``tfc.sensitivity`` found, for two levels of sparsity at least.
        sparsity: the share of all weights that is zero in the end, in (0, 0.98).

    Returns:
        {path of the kernel: its sparsity}.

    Raises:
        ValueError: the table lacks levels, or the sparsity is out of its range.
    """
    levels = sorted(level for change, level in table.columns() if change == "sparsity")
    if len(levels) < 2 or not 0 < sparsity < _HIGHEST:
        raise ValueError(
            f"Sharing out needs a sparsity in (0, {_HIGHEST}) and a table with two levels of "
            f"sparsity. Received: sparsity={sparsity!r}, levels {levels}"
        )
    kernels = {effect.path: effect.weights for effect in table.effects}
    curves = {
        path: [(level, table.of("sparsity", level)[path].error) for level in levels]
        for path in kernels
    }
    steps = dict.fromkeys(kernels, 0)
    needed = sparsity * sum(kernels.values())

    def cost(path):
        here, there = (error_at(curves[path], _STEP * (steps[path] + add)) for add in (0, 1))
        return (there - here) / kernels[path]

    costs = {path: cost(path) for path in kernels}
    while needed > 0:
        path = min(costs, key=costs.get)
        steps[path] += 1
        needed -= _STEP * kernels[path]
        costs[path] = cost(path) if _STEP * (steps[path] + 1) <= _HIGHEST else math.inf
    return {path: round(_STEP * count, 2) for path, count in steps.items()}


def error_at(curve: list[tuple[float, float]], sparsity: float) -> float:
    """Return the error at a sparsity, from a kernel's errors at some levels in order.

    Between levels, and beyond them, the logarithm of the error goes in straight lines; below the
    first level the error falls to zero with the square of the sparsity.

    Example:
    >>> error_at([(0.5, 0.01), (0.75, 0.1)], 0.25), error_at([(0.5, 0.01), (0.75, 0.1)], 0.5)
    (0.0025, 0.01)
    """
    first, error = curve[0]
    if sparsity <= first:
        return error * (sparsity / first) ** 2
    least = 1e-12  # a kernel whose zeros change nothing has no logarithm
    pairs = list(itertools.pairwise(curve))
    (a, low), (b, high) = next((p for p in pairs if sparsity <= p[1][0]), pairs[-1])
    low, high = math.log(max(low, least)), math.log(max(high, least))
    return math.exp(low + (high - low) * (sparsity - a) / (b - a))
