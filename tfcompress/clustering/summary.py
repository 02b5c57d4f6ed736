"""The clusters of a model's kernels as a table."""

import dataclasses

import keras
import numpy as np

from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.keras_graph.selection import LayerSelector

_HEADINGS = ("kernel", "weights", "values", "zeros", "largest share", "bits per weight")


@dataclasses.dataclass(frozen=True)
class KernelClusters:
    """The distinct values of one kernel.

    Attributes:
        path: the kernel's path.
        weights: number of weights.
        values: number of distinct values.
        zeros: fraction of zeros.
        largest_share: fraction of weights that have the most frequent value.
        bits_per_weight: the entropy of the values, a lower bound for codes of single weights. gzip
            comes close to it, and goes below it if sequences of weights repeat.
    """

    path: str
    weights: int
    values: int
    zeros: float
    largest_share: float
    bits_per_weight: float


@dataclasses.dataclass(frozen=True)
class ClusterSummary:
    """The distinct values of each kernel of a model.

    Attributes:
        kernels: an entry for each kernel.
    """

    kernels: tuple[KernelClusters, ...]

    def to_text(self) -> str:
        """Return a table for the terminal."""
        rows = [_HEADINGS] + [
            (
                kernel.path,
                f"{kernel.weights:,}",
                f"{kernel.values:,}",
                f"{kernel.zeros:.1%}",
                f"{kernel.largest_share:.1%}",
                f"{kernel.bits_per_weight:.2f}",
            )
            for kernel in self.kernels
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if place else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )


def cluster_summary(model: keras.Model, layers: LayerSelector = None) -> ClusterSummary:
    """Summarize the distinct values of a model's kernels.

    Args:
        model: a built Keras model, or a wrapper of one.
        layers: which layers; see ``select_layers``. All by default.

    Returns:
        The summary; ``to_text()`` gives a table.

    Raises:
        TypeError: ``layers`` is not a selector.
        ValueError: ``layers`` matches nothing.

    Example:
    >>> print(tfc.cluster_summary(model).to_text())
    """
    return ClusterSummary(
        tuple(
            kernel_clusters(kernel.path, keras.ops.convert_to_numpy(kernel.variable))
            for kernel in find_kernels(model, layers)
        )
    )


def unique_weights(model: keras.Model) -> dict[str, int]:
    """Count the distinct values in each kernel of a model.

    Args:
        model: a built Keras model.

    Returns:
        The number of values by the path of the kernel.

    Example:
    >>> tfc.unique_weights(tfc.cluster_weights(model, 8, layers=["stem"]))["stem/kernel"]
    8
    """
    return {kernel.path: kernel.values for kernel in cluster_summary(model).kernels}


def entropy(counts: np.ndarray) -> float:
    """Return the entropy in bits of values with these counts.

    Example:
    >>> entropy(np.array([2, 1, 1]))
    1.5
    """
    shares = counts / counts.sum()
    return float(np.sum(shares * np.log2(1.0 / shares)))


def kernel_clusters(path: str, weights: np.ndarray) -> KernelClusters:
    """Describe the values of one kernel."""
    _, counts = np.unique(weights, return_counts=True)
    return KernelClusters(
        path=path,
        weights=weights.size,
        values=len(counts),
        zeros=float(np.mean(weights == 0)),
        largest_share=float(counts.max() / weights.size),
        bits_per_weight=entropy(counts),
    )
