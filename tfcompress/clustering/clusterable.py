"""Which kernels can be clustered, and into how many groups of how many values."""

import keras
import numpy as np

from tfcompress.clustering.centroids import INITIALIZATIONS
from tfcompress.clustering.constraint import ClusterConstraint
from tfcompress.clustering.grouping import group
from tfcompress.keras_graph.kernels import Kernel, find_kernels
from tfcompress.keras_graph.selection import LayerSelector
from tfcompress.keras_graph.wrapper import require_built, require_final_kernels

_MOST_CLUSTERS = 256


def clusterable_kernels(
    model: keras.Model, layers: LayerSelector, clusters: int, granularity: str | int
) -> list[tuple[Kernel, int]]:
    """List the kernels that clustering may work on, checked, each with its number of groups.

    Args:
        model: a built Keras model, or a wrapper of one.
        layers: which layers; see ``select_layers``. All but depthwise ones when not given.
        clusters: values of each group.
        granularity: "tensor", "channel" or a number of groups.

    Raises:
        TypeError: ``layers`` is not a selector.
        ValueError: see ``cluster_weights``.
    """
    require_built(model)
    require_final_kernels(model, "cluster_weights")
    if not (isinstance(clusters, int) and 2 <= clusters <= _MOST_CLUSTERS):
        raise ValueError(
            f"`number_of_clusters` must be an integer from 2 to {_MOST_CLUSTERS}. "
            f"Received: number_of_clusters={clusters!r}"
        )
    if granularity not in ("tensor", "channel") and not (
        isinstance(granularity, int) and granularity >= 1
    ):
        raise ValueError(
            "`granularity` must be 'tensor', 'channel' or a number of groups. "
            f"Received: granularity={granularity!r}"
        )
    kernels = [k for k in find_kernels(model, layers) if layers is not None or not k.depthwise]
    if not kernels:
        raise ValueError(f"`layers` selects no layer with a kernel. Received: layers={layers!r}")
    for kernel in kernels:
        _check(kernel)
    return [(kernel, _groups(kernel, granularity, clusters)) for kernel in kernels]


def first_centroids(
    weights: np.ndarray, groups: int, clusters: int, start: str, generator: np.random.Generator
) -> np.ndarray:
    """Choose the values that the weights of a kernel share at first.

    Args:
        weights: float array, output channels last.
        groups: how many groups the channels are split into.
        clusters: values of each group.
        start: one of ``INITIALIZATIONS``.
        generator: for those that draw.

    Returns:
        float array (groups, clusters), ascending. Zero is one of the values of each group that has
        weights that are zero.

    Raises:
        ValueError: ``start`` is unknown.
    """
    if start not in INITIALIZATIONS:
        raise ValueError(
            f"`cluster_centroids_init` must be one of {sorted(INITIALIZATIONS)}. "
            f"Received: cluster_centroids_init={start!r}"
        )
    initialize = INITIALIZATIONS[start]
    return np.stack(
        [_start(part, clusters, initialize, generator) for part in group(weights, groups)]
    )


def refuse_clustered(model: keras.Model, kernels: list[Kernel]) -> None:
    """Check that pruning does not meet clusters, whose values zeros would tear apart.

    Args:
        model: the model to be trained.
        kernels: what is to be pruned.

    Raises:
        ValueError: a kernel is clustered already, by constraints or by a wrapper.
    """
    require_final_kernels(model, "pruning")
    for kernel in kernels:
        if isinstance(kernel.variable.constraint, ClusterConstraint):
            layer_path = kernel.layer_path
            raise ValueError(
                f"Layer {layer_path!r} is clustered already, and pruning it would tear its shared "
                "values apart. Prune first, then cluster: clusters keep the zeros that they find, "
                "without a callback. Or take them off with `release_clusters`. "
                f"Received: {kernel.path!r} under a ClusterConstraint"
            )


def _start(weights, count, initialize, generator):
    """Return the first values of a group; zero is one of them if any weight is zero."""
    pruned = weights == 0.0
    if not pruned.any():
        return initialize(weights, count, generator)
    rest = weights[~pruned]
    if len(rest) < count:
        return np.sort(np.pad(rest, (0, count - len(rest))))
    others = initialize(rest, count - 1, generator)
    # None of them may meet the zero that pruned weights have to themselves.
    others = np.where(others == 0.0, np.finfo(np.float32).tiny, others)
    return np.sort(np.append(others, 0.0))


def _groups(kernel: Kernel, granularity, clusters):
    channels = int(kernel.variable.shape[-1])
    count = {"tensor": 1, "channel": channels}.get(granularity, granularity)
    if channels % count:
        raise ValueError(
            f"The {channels} output channels of {kernel.path!r} cannot be split into {count} equal "
            f"groups. Received: granularity={granularity!r}"
        )
    if kernel.size // count < clusters:
        raise ValueError(
            f"{kernel.path!r} has {kernel.size // count} weights for {clusters} clusters: leave it "
            "out with `layers`, or ask for fewer clusters. "
            f"Received: number_of_clusters={clusters}, granularity={granularity!r}"
        )
    return count


def _check(kernel: Kernel):
    if isinstance(kernel.variable.constraint, ClusterConstraint):
        raise ValueError(
            f"{kernel.path!r} is clustered already: call `release_clusters` first to start anew."
        )
    if not kernel.variable.trainable:
        raise ValueError(
            f"{kernel.path!r} is frozen, so its values could not be trained: set "
            "`layer.trainable = True`, or leave the layer out with `layers`."
        )
    if not np.isfinite(keras.ops.convert_to_numpy(kernel.variable)).all():
        raise ValueError(f"{kernel.path!r} holds weights that are NaN or infinite.")
