"""Weight clustering: which kernels can share values, and where these values start."""

import keras
import numpy as np

from tfcompress.clustering.centroids import INITIALIZATIONS
from tfcompress.clustering.constraint import ClusterConstraint, constrain
from tfcompress.clustering.differentiable import DifferentiableClusters, SharedKernel
from tfcompress.clustering.grouping import group
from tfcompress.clustering.soft_kmeans import DifferentiableKMeans
from tfcompress.keras_graph.kernels import Kernel, find_kernels, require_trained
from tfcompress.keras_graph.selection import LayerSelector
from tfcompress.keras_graph.wrapper import require_built, require_final_kernels

_METHODS = {"nearest": None, "differentiable": DifferentiableKMeans()}
_MAX_CLUSTERS = 256


def cluster_weights(
    model: keras.Model,
    number_of_clusters: int = 16,
    layers: LayerSelector = None,
    *,
    cluster_centroids_init: str = "kmeans++",
    granularity: str | int = "tensor",
    mobility: float = 1.0,
    method: str | DifferentiableKMeans = "nearest",
    seed: int = 0,
) -> keras.Model:
    """Make the weights of each kernel share a few values, and train these values from then on.

    With ``method="nearest"`` the weights of ``model`` move to their shared values at once. The
    values are constraints on the model's own variables, which the optimizer applies inside the
    compiled step: there is no wrapper and nothing to strip, and every checkpoint is clustered.

    With ``method="differentiable"`` (DKM) the result is a wrapper that shares the variables of
    ``model``. In training each weight is a soft mixture of the values, so that gradients decide
    which value it takes; in evaluation and prediction it takes the nearest. ``settle()`` returns
    ``model`` as the other method makes it, to be exported or trained further.

    With both methods, weights that are zero stay zero, and zero is one of the values.

    Args:
        model: a built Keras model; it is changed. Prune it before, and make it quantization-aware
            after clustering.
        number_of_clusters: number of values of each kernel, or of each group; from 2 to 256.
        layers: which layers; see ``select_layers``. By default all except depthwise layers, which
            hold few weights.
        cluster_centroids_init: initial values: "kmeans++", "linear", "density" or "random".
        granularity: "tensor" for the same values in a whole kernel, "channel" for separate values
            of each output channel, or the number of groups to split the output channels into.
        mobility: with "nearest", how far a weight follows its own updates besides those of its
            value, from 0 to 1: with 1 gradients decide when it changes its value; with 0 it changes
            only if another value becomes nearer, which gives smaller files.
        method: "nearest", "differentiable", or a ``DifferentiableKMeans`` with settings.
        seed: seed of "kmeans++" and "random".

    Returns:
        The model to compile and train: ``model`` itself, or the wrapper.

    Raises:
        TypeError: ``layers`` is not a selector.
        ValueError: the model is not built, or computes with other weights than its kernels
            (``gated``, or another differentiable clustering); ``layers`` matches no kernel; an
            argument is out of range; a group has fewer weights than clusters; or a kernel holds
            NaN, is frozen, or is clustered already.

    Example:
    >>> model = tfc.cluster_weights(model, 16)
    >>> model.compile("adam", loss)
    >>> model.fit(x, y)

    Method: Han et al., "Deep compression", 2016, https://arxiv.org/abs/1510.00149, section 3; Cho
    et al., "DKM: differentiable k-means clustering layer for neural network compression", 2022,
    https://arxiv.org/abs/2108.12659.
    """
    kernels = _clusterable_kernels(model, layers, number_of_clusters, granularity)
    settings = _as_method(method)
    if not 0.0 <= mobility <= 1.0:
        raise ValueError(f"`mobility` must lie in [0, 1]. Received: mobility={mobility!r}")
    if settings is not None and mobility != 1.0:
        raise ValueError(
            "`mobility` requires method='nearest': in differentiable k-means only gradients move "
            f"weights. Received: mobility={mobility!r}, method={method!r}"
        )
    if cluster_centroids_init not in INITIALIZATIONS:
        raise ValueError(
            f"`cluster_centroids_init` must be one of {sorted(INITIALIZATIONS)}. "
            f"Received: cluster_centroids_init={cluster_centroids_init!r}"
        )
    initialize = INITIALIZATIONS[cluster_centroids_init]
    generator = np.random.default_rng(seed)
    centroids = []  # of each kernel, (groups, clusters), ascending
    for kernel, groups in kernels:
        weights = keras.ops.convert_to_numpy(kernel.variable)
        parts = [
            _initial_centroids(part, number_of_clusters, initialize, generator)
            for part in group(weights, groups)
        ]
        centroids.append(np.stack(parts))
    if settings is None:
        constrain(model, [kernel for kernel, _ in kernels], centroids, mobility)
        return model
    shared = [SharedKernel(kernel.path, groups, number_of_clusters) for kernel, groups in kernels]
    wrapper = DifferentiableClusters(model, shared, settings)
    wrapper.set_centroids(centroids)
    return wrapper


def _as_method(method):
    """Return the settings of differentiable k-means, or None for the nearest values."""
    if isinstance(method, DifferentiableKMeans):
        return method
    if method not in _METHODS:
        raise ValueError(
            f"`method` must be one of {sorted(_METHODS)}, or a `DifferentiableKMeans`. "
            f"Received: method={method!r}"
        )
    return _METHODS[method]


def _clusterable_kernels(model, layers, clusters, granularity) -> list[tuple[Kernel, int]]:
    """List the kernels to cluster, checked, each with its number of groups."""
    require_built(model)
    require_final_kernels(model, "cluster_weights")
    if not (isinstance(clusters, int) and 2 <= clusters <= _MAX_CLUSTERS):
        raise ValueError(
            f"`number_of_clusters` must be an integer from 2 to {_MAX_CLUSTERS}. "
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
    require_trained(model, kernels, "clustering")
    for kernel in kernels:
        _check(kernel)
    return [(kernel, _groups(kernel, granularity, clusters)) for kernel in kernels]


def _initial_centroids(weights, count, initialize, generator):
    """Return the first values of a group; zero is one of them if any weight is zero."""
    pruned = weights == 0.0
    if not pruned.any():
        return initialize(weights, count, generator)
    rest = weights[~pruned]
    if len(rest) < count:
        return np.sort(np.pad(rest, (0, count - len(rest))))
    others = initialize(rest, count - 1, generator)
    # Zero is reserved for pruned weights.
    others = np.where(others == 0.0, np.finfo(np.float32).tiny, others)
    return np.sort(np.append(others, 0.0))


def _groups(kernel: Kernel, granularity, clusters):
    """Return the number of groups of a kernel's output channels."""
    channels = int(kernel.variable.shape[-1])
    count = {"tensor": 1, "channel": channels}.get(granularity, granularity)
    if channels % count:
        raise ValueError(
            f"The {channels} output channels of {kernel.path!r} cannot be split into {count} equal "
            f"groups. Received: granularity={granularity!r}"
        )
    if kernel.size // count < clusters:
        raise ValueError(
            f"{kernel.path!r} has {kernel.size // count} weights for {clusters} clusters: exclude "
            "it with `layers=`, or use fewer clusters. "
            f"Received: number_of_clusters={clusters}, granularity={granularity!r}"
        )
    return count


def _check(kernel: Kernel):
    """Raise ValueError for a kernel that cannot be clustered."""
    if isinstance(kernel.variable.constraint, ClusterConstraint):
        raise ValueError(
            f"{kernel.path!r} is clustered already: call `release_clusters` first to cluster it "
            "again. Received: a kernel under a ClusterConstraint"
        )
    if not np.isfinite(keras.ops.convert_to_numpy(kernel.variable)).all():
        raise ValueError(
            f"{kernel.path!r} holds weights that are NaN or infinite: train the model again, or "
            "restore its weights."
        )


def refuse_clustered(model: keras.Model, kernels: list[Kernel]) -> None:
    """Raise ValueError if a kernel to prune is clustered, by a constraint or a wrapper."""
    require_final_kernels(model, "pruning")
    for kernel in kernels:
        if isinstance(kernel.variable.constraint, ClusterConstraint):
            raise ValueError(
                f"Layer {kernel.layer_path!r} is clustered, and pruning would break its shared "
                "values apart. Prune first, then cluster: clustering keeps zeros. Or remove the "
                "clusters with `release_clusters`. "
                f"Received: {kernel.path!r} under a ClusterConstraint"
            )
