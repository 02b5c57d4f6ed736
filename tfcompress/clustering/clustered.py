"""Sharing the weights of a model among few values."""

import keras
import numpy as np

from tfcompress.clustering.centroids import INITIALIZATIONS
from tfcompress.clustering.constraint import ClusterConstraint, group
from tfcompress.graph.kernels import Kernel, find_kernels
from tfcompress.graph.selection import LayerSelector
from tfcompress.graph.wrapper import require_built, unwrap

_MOST_CLUSTERS = 256


def cluster_weights(
    model: keras.Model,
    number_of_clusters: int = 16,
    layers: LayerSelector = None,
    *,
    cluster_centroids_init: str = "kmeans++",
    granularity: str | int = "tensor",
    seed: int = 0,
) -> keras.Model:
    """Let the weights of each kernel share a few values, and train these values from now on.

    The weights of ``model`` move to their shared values at once. From then on its optimizer keeps
    them there: the values are constraints on the model's own variables, applied inside the compiled
    step, so that there is no wrapper and nothing to strip, and whatever is saved is clustered.
    Weights that are zero stay zero, with zero as one of the values.

    Args:
        model: a built Keras model; it is changed. Prune it before, if at all; make it
            quantization-aware afterwards.
        number_of_clusters: values of each kernel, or of each group; from 2 to 256.
        layers: which layers; see ``select_layers``. All by default; depthwise kernels are left
            alone unless named, as they hold few weights.
        cluster_centroids_init: where the values start: "kmeans++", "linear", "density" or "random".
        granularity: "tensor" for the same values in a whole kernel, "channel" for values of each
            output channel, or the number of groups that the output channels are split into.
        seed: of "kmeans++" and "random".

    Returns:
        ``model`` itself: compile it and train on.

    Raises:
        TypeError: ``layers`` is not a selector.
        ValueError: the model is not built; ``layers`` matches no kernel; an argument is out of its
            range; a group has fewer weights than clusters; or a kernel holds NaN, is frozen, or is
            clustered already.

    Example:
    >>> model = tfc.cluster_weights(model, 16)
    >>> model.compile("adam", loss)
    >>> model.fit(x, y)

    Method: Han et al., "Deep compression", 2016, https://arxiv.org/abs/1510.00149, section 3.
    """
    user_model = unwrap(model)
    require_built(user_model)
    _check(number_of_clusters, cluster_centroids_init, granularity)
    kernels = [k for k in find_kernels(user_model, layers) if layers is not None or not k.depthwise]
    if not kernels:
        raise ValueError(f"`layers` selects no layer with a kernel. Received: layers={layers!r}")
    groups = [_groups(kernel, granularity, number_of_clusters) for kernel in kernels]
    for kernel in kernels:
        _check_kernel(kernel)
    initialize = INITIALIZATIONS[cluster_centroids_init]
    generator = np.random.default_rng(seed)
    for kernel, count in zip(kernels, groups, strict=True):
        variable = kernel.variable
        values = keras.ops.convert_to_numpy(variable)
        centroids = np.stack(
            [
                _start(part, number_of_clusters, initialize, generator)
                for part in group(values, count)
            ]
        )
        constraint = ClusterConstraint(variable.shape, centroids, values, variable.constraint)
        variable.assign(constraint.clustered())
        variable.constraint = constraint
    if getattr(user_model, "train_function", None) is not None:
        user_model.make_train_function(force=True)  # a compiled step knows no new constraints
    return model


def release_clusters(model: keras.Model) -> keras.Model:
    """Take the constraints of ``cluster_weights`` off; the weights stay where they are."""
    for kernel in find_kernels(unwrap(model)):
        if isinstance(kernel.variable.constraint, ClusterConstraint):
            kernel.variable.constraint = kernel.variable.constraint.constraint
    return model


def unique_weights(model: keras.Model) -> dict[str, int]:
    """Count the different values in each kernel of a model.

    Args:
        model: a built Keras model.

    Returns:
        {path of the kernel: number of values}.
    """
    return {
        kernel.path: len(np.unique(keras.ops.convert_to_numpy(kernel.variable)))
        for kernel in find_kernels(unwrap(model))
    }


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


def _check(clusters, initialization, granularity):
    if not (isinstance(clusters, int) and 2 <= clusters <= _MOST_CLUSTERS):
        raise ValueError(
            f"`number_of_clusters` must be an integer from 2 to {_MOST_CLUSTERS}. "
            f"Received: number_of_clusters={clusters!r}"
        )
    if initialization not in INITIALIZATIONS:
        raise ValueError(
            f"`cluster_centroids_init` must be one of {sorted(INITIALIZATIONS)}. "
            f"Received: cluster_centroids_init={initialization!r}"
        )
    if granularity not in ("tensor", "channel") and not (
        isinstance(granularity, int) and granularity >= 1
    ):
        raise ValueError(
            "`granularity` must be 'tensor', 'channel' or a number of groups. "
            f"Received: granularity={granularity!r}"
        )


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


def _check_kernel(kernel: Kernel):
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
