"""Initial values of a set of weights: functions of weights (n,), a count and a random generator.

Each returns a float array (count,), ascending.
"""

import numpy as np

_ROUNDS = 30  # of Lloyd's algorithm; in one dimension it converges in about ten


def linear(weights: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Space values evenly between the smallest and the largest weight.

    Example:
    >>> linear(np.array([-1.0, 0.2, 3.0]), 3, None)
    array([-1.,  1.,  3.])
    """
    del generator
    return np.linspace(weights.min(), weights.max(), count)


def density(weights: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Place values at equally spaced quantiles: more of them where there are more weights.

    Example:
    >>> density(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 100.0]), 3, None)
    array([ 0.83333333,  2.5       , 20.        ])
    """
    del generator
    return np.quantile(weights, (np.arange(count) + 0.5) / count)


def random(weights: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Draw values from the weights."""
    return np.sort(generator.choice(weights, count, replace=False))


def kmeans_plus_plus(weights: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Minimize the squared distance of weights to their nearest value.

    Starts from weights drawn in proportion to their squared distance to those drawn before, then
    moves each value to the mean of the weights nearest to it.

    Source: Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", 2007.
    """
    weights = np.sort(weights.astype(np.float64))  # the nearest weights of a value are contiguous
    sums = np.append(0.0, np.cumsum(weights))
    centroids = np.array([generator.choice(weights)])
    distances = np.square(weights - centroids[0])
    while len(centroids) < count and distances.any():
        cumulated = np.cumsum(distances)
        drawn = weights[np.searchsorted(cumulated, generator.random() * cumulated[-1], "right")]
        centroids = np.append(centroids, drawn)
        distances = np.minimum(distances, np.square(weights - drawn))
    for _ in range(_ROUNDS):
        centroids.sort()
        boundaries = (centroids[1:] + centroids[:-1]) / 2
        ends = np.searchsorted(weights, boundaries, "right")
        sizes = np.diff(ends, prepend=0, append=len(weights))
        totals = np.diff(sums[ends], prepend=0.0, append=sums[-1])
        moved = np.where(sizes > 0, totals / np.maximum(sizes, 1), centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    # With fewer distinct weights than values, the last value repeats.
    return np.sort(np.pad(centroids, (0, count - len(centroids)), mode="edge"))


INITIALIZATIONS = {
    "density": density,
    "kmeans++": kmeans_plus_plus,
    "linear": linear,
    "random": random,
}
