"""The arithmetic of differentiable k-means: weights as soft mixtures of few values."""

import dataclasses

from keras import ops

from tfcompress.clustering.grouping import held_values, pruned_weights

_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class DifferentiableKMeans:
    """Settings of ``cluster_weights(method=...)`` for differentiable k-means.

    Attributes:
        temperature: softness of the mixture: the distance, in standard deviations of a group's
            weights, over which the attention of a weight to a value falls by a factor of e.
        iterations: rounds of soft k-means in each training step; gradients pass through all.

    Raises:
        ValueError: ``temperature`` is not positive, or ``iterations`` is not a positive integer.

    Example:
    >>> tfc.cluster_weights(model, 16, method=tfc.DifferentiableKMeans(temperature=0.1))
    """

    temperature: float = 0.05
    iterations: int = 3

    def __post_init__(self):
        if not self.temperature > 0:
            raise ValueError(
                f"`temperature` must be positive. Received: temperature={self.temperature!r}"
            )
        if not (isinstance(self.iterations, int) and self.iterations >= 1):
            raise ValueError(
                f"`iterations` must be a positive integer. Received: iterations={self.iterations!r}"
            )


def soft_clusters(weights, centroids, temperature: float, iterations: int):
    """Run soft k-means from ``centroids``, and mix the resulting values into each weight.

    Takes float32 tensors (groups, weights of each) and (groups, clusters), and returns the mixed
    weights and the new values in the same shapes. If zero is one of the values, it and the weights
    that are zero stay so.

    Example:
    >>> mixed, values = soft_clusters(
    ...     ops.array([[0.9, 1.1, 4.9, 5.1]]), ops.array([[1.5, 4.0]]), 0.1, 3)
    >>> ops.convert_to_numpy(values).round(3)
    array([[1., 5.]], dtype=float32)

    Source: Cho et al., "DKM: differentiable k-means clustering layer for neural network
    compression", 2022, https://arxiv.org/abs/2108.12659, section 3.
    """
    pruned = pruned_weights(weights, centroids)
    held = held_values(centroids, pruned)
    kept = ops.cast(~pruned, weights.dtype)
    softness = temperature * ops.stop_gradient(_deviation(weights, kept))

    def attention(values):
        distances = ops.abs(weights[:, :, None] - values[:, None, :])
        shares = ops.softmax(-distances / softness[:, None], axis=-1)
        return shares * kept[:, :, None]

    for _ in range(iterations):
        shares = attention(centroids)
        sums = ops.sum(shares, axis=1)
        means = ops.einsum("gnk,gn->gk", shares, weights) / ops.maximum(sums, _EPSILON)
        # A value without attention does not move.
        centroids = ops.where(held | (sums < _EPSILON), centroids, means)
    return ops.einsum("gnk,gk->gn", attention(centroids), centroids), centroids


def _deviation(weights, kept):
    """Return the standard deviation of each group's nonzero weights: (groups, 1)."""
    count = ops.maximum(ops.sum(kept, axis=1, keepdims=True), 1.0)
    mean = ops.sum(weights, axis=1, keepdims=True) / count
    square = ops.sum(kept * ops.square(weights - mean), axis=1, keepdims=True) / count
    return ops.maximum(ops.sqrt(square), _EPSILON)
