"""Sharing the weights of a model among few values."""

import keras
import numpy as np

from tfcompress.clustering.clusterable import clusterable_kernels, first_centroids
from tfcompress.clustering.constraining import constrain
from tfcompress.clustering.differentiable import DifferentiableClusters, SharedKernel
from tfcompress.clustering.soft_kmeans import DifferentiableKMeans
from tfcompress.keras_graph.selection import LayerSelector

_METHODS = {"nearest": None, "differentiable": DifferentiableKMeans()}


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
    """Let the weights of each kernel share a few values, and train these values from now on.

    With ``method="nearest"`` the weights of ``model`` move to their shared values at once. From
    then on its optimizer keeps them there: the values are constraints on the model's own variables,
    applied inside the compiled step, so that there is no wrapper and nothing to strip, and whatever
    is saved is clustered.

    With ``method="differentiable"`` (DKM) the result is a wrapper that shares the variables of
    ``model``. In training each weight is a soft mixture of the values, so that gradients decide
    which one it goes to; in evaluation and prediction it has the nearest. ``settle()`` returns
    ``model`` as the other method makes it, to be exported or trained further.

    Either way weights that are zero stay zero, with zero as one of the values.

    Args:
        model: a built Keras model; it is changed. Prune it before, if at all; make it
            quantization-aware afterwards.
        number_of_clusters: values of each kernel, or of each group; from 2 to 256.
        layers: which layers; see ``select_layers``. All by default; depthwise kernels are left
            alone unless named, as they hold few weights.
        cluster_centroids_init: where the values start: "kmeans++", "linear", "density" or "random".
        granularity: "tensor" for the same values in a whole kernel, "channel" for values of each
            output channel, or the number of groups that the output channels are split into.
        mobility: with "nearest", how much of its own updates a weight follows besides those of its
            value, from 0 to 1: with 1 it changes over as its gradients say, with 0 only where
            another value comes nearer to what it was; the file then stays smaller.
        method: "nearest", "differentiable", or a ``DifferentiableKMeans`` with settings.
        seed: of "kmeans++" and "random".

    Returns:
        The model to compile and to train on: ``model`` itself, or the wrapper.

    Raises:
        TypeError: ``layers`` is not a selector.
        ValueError: the model is not built, or its kernels are not final (``gated``, or another
            differentiable clustering); ``layers`` matches no kernel; an argument is out of its
            range; a group has fewer weights than clusters; or a kernel holds NaN, is frozen, or is
            clustered already.

    Example:
    >>> model = tfc.cluster_weights(model, 16)
    >>> model.compile("adam", loss)
    >>> model.fit(x, y)

    Method: Han et al., "Deep compression", 2016, https://arxiv.org/abs/1510.00149, section 3; Cho
    et al., "DKM: differentiable k-means clustering layer for neural network compression", 2022,
    https://arxiv.org/abs/2108.12659.
    """
    kernels = clusterable_kernels(model, layers, number_of_clusters, granularity)
    settings = _as_method(method)
    if not 0.0 <= mobility <= 1.0:
        raise ValueError(f"`mobility` must be from 0 to 1. Received: mobility={mobility!r}")
    if settings is not None and mobility != 1.0:
        raise ValueError(
            "`mobility` goes with method='nearest': in differentiable k-means gradients alone "
            f"move weights. Received: mobility={mobility!r}, method={method!r}"
        )
    generator = np.random.default_rng(seed)
    centroids = [
        first_centroids(
            keras.ops.convert_to_numpy(kernel.variable),
            groups,
            number_of_clusters,
            cluster_centroids_init,
            generator,
        )
        for kernel, groups in kernels
    ]
    if settings is None:
        constrain(model, [kernel for kernel, _ in kernels], centroids, mobility)
        return model
    shared = [SharedKernel(kernel.path, groups, number_of_clusters) for kernel, groups in kernels]
    wrapper = DifferentiableClusters(model, shared, settings)
    wrapper.start(centroids)
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
