"""The arithmetic of rounding weights so that the errors of some make up for those of others.

What counts is not how far a weight is moved but what a layer computes on the inputs that it
meets. Weights are rounded one input after the other, and those that are still to come take up the
error that each leaves behind (Frantar et al., "GPTQ", 2022, https://arxiv.org/abs/2210.17323).
Before, the weights are fitted to what the layer should compute from inputs that are rounded
already, as far as the data can tell.

Arrays have an axis of groups first: a depthwise layer has one matrix for each channel.
"""

import numpy as np


def gram(rows: np.ndarray) -> np.ndarray:
    """Return the mean products of inputs.

    Args:
        rows: float array (positions, groups, n).

    Returns:
        float64 array (groups, n, n).
    """
    by_group = rows.astype(np.float64).transpose(1, 0, 2)
    return np.matmul(by_group.transpose(0, 2, 1), by_group) / len(rows)


def damped(products: np.ndarray, damping: float) -> np.ndarray:
    """Add to the diagonal of ``gram`` a share of its mean, and something where inputs are zero."""
    mean = np.trace(products, axis1=1, axis2=2)[:, None, None] / products.shape[-1]
    return products + np.eye(products.shape[-1]) * (damping * mean + 1e-12)


def fitted(matrices: np.ndarray, products: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Change weights as little as it takes to come near to what they should compute.

    Args:
        matrices: float array (groups, n, m), the weights so far.
        products: float array (groups, n, n), damped: the damping is what a change costs.
        wanted: float array (groups, n, m): the mean products of the inputs and what the outputs
            lack.

    Returns:
        float64 array (groups, n, m).
    """
    return matrices + np.linalg.solve(products, wanted)


def round_compensating(
    matrices: np.ndarray,
    products: np.ndarray,
    steps: np.ndarray,
    levels: int,
    fixed: np.ndarray,
) -> np.ndarray:
    """Round weights so that the outputs change least, not the weights.

    Args:
        matrices: float array (groups, n, m).
        products: float array (groups, n, n), damped mean products of the inputs.
        steps: float array (groups, m): the step of each output.
        levels: the largest integer of the grid.
        fixed: bool array (groups, n, m): weights that go to the nearest integer, whatever errors
            they could take up.

    Returns:
        float64 array (groups, n, m) of integers.

    Example:
    >>> products = np.array([[[1.0, 0.9], [0.9, 1.0]]])
    >>> weights, steps = np.array([[[1.4], [0.4]]]), np.ones((1, 1))
    >>> round_compensating(weights, products, steps, 127, np.zeros((1, 2, 1), bool))[0, :, 0]
    array([1., 1.])
    """
    # Inputs that carry most come first: their errors find most others to take them up.
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


def largest_of_each_scale(matrices: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """Mark one largest weight of each scale: it says how long the step is, so it must stay.

    Args:
        matrices: float array (groups, n, m).
        shared: int array (groups, m): which scale each output has.

    Returns:
        bool array (groups, n, m).
    """
    scales = np.broadcast_to(shared[:, None], matrices.shape).ravel()
    # Sorted by scale, and by size within each: the last of each scale is its largest.
    order = np.lexsort((np.abs(matrices).ravel(), scales))
    ends = np.append(scales[order][1:] != scales[order][:-1], True)
    marked = np.zeros(matrices.size, bool)
    marked[order[ends]] = True
    return marked.reshape(matrices.shape)
