"""Pruning after training: weights removed so that the outputs of each layer change least.

Each layer is a least-squares problem: matrices W with a given number of zeros for which the mean of
|x W - y|^2 over its inputs x is least, where y are the outputs of the dense layer. Arrays have a
first axis of groups: a depthwise layer has one matrix per channel.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from rich.progress import track

from tfcompress.interruption import reliable_interruption
from tfcompress.keras_graph.channels import read_channels, rebuild
from tfcompress.keras_graph.custom_kernels import find_all_kernels
from tfcompress.keras_graph.interception import float32_computation
from tfcompress.keras_graph.kernels import Kernel
from tfcompress.keras_graph.linear_layers import (
    LinearLayer,
    collect_outputs,
    collect_rows,
    float64,
    linear_layers,
)
from tfcompress.keras_graph.selection import LayerSelector
from tfcompress.post_training.adaptive_rounding import MAX_INPUTS, Samples, damped
from tfcompress.post_training.optimization import require_optimizable
from tfcompress.post_training.report import PrunedLayer, PruningReport
from tfcompress.post_training.representative_data import input_batches
from tfcompress.pruning.masks import smallest
from tfcompress.pruning.patterns import Element, Pattern, as_pattern
from tfcompress.pruning.schedules import ConstantSparsity, check_sparsity
from tfcompress.pruning.sparsity_distribution import make_distribution

_MAX_ROWS = 4096  # positions per layer
_DAMPING = 0.01  # the cost of a change, relative to the mean energy of an input
_ROUNDS = 100  # of the search for the zeros
_PENALTY, _GROWTH = 0.1, 1.05  # of what the dense and the sparse weights differ by
_STEPS = 100  # of conjugate gradients


@reliable_interruption()
def prune_weights(
    model: keras.Model,
    representative_data: Any,
    sparsity: float = 0.5,
    layers: LayerSelector = None,
    *,
    pattern: str | Pattern = "element",
    sparsity_distribution: str | None = None,
    max_examples: int = 256,
    progress: bool = True,
) -> keras.Model:
    """Make a sparse copy of a trained model, without training and without labels.

    Layer by layer, the weights that stay are fitted to the outputs of the dense layer, on the
    inputs that the sparse layers before it give. The copy has the layers of the model, batch
    normalizations included, and is trained, quantized and exported like any other. Its attribute
    ``pruning_report`` has the sparsity of each layer, and how near its outputs come.

    Dense layers and convolutions are pruned; depthwise ones hold few weights and stay dense. A
    warning names other layers that have kernels, which stay dense, too.

    Args:
        model: a built Functional or Sequential model, nested ones included; it is not changed.
        representative_data: a few hundred inputs like those in use, in any form that ``fit``
            accepts; labels are not needed.
        sparsity: the fraction of zeros in the kernels that are pruned together, in [0, 1).
        layers: the layers to prune, as ``MagnitudePruning`` takes them; all by default.
        pattern: which weights are removed together, likewise; a whole number of them goes.
        sparsity_distribution: "lamp", "erk" or "uniform", likewise; by default "lamp" where single
            weights are removed, and "uniform" for other patterns.
        max_examples: the maximum number of inputs to use.
        progress: whether to show a progress bar.

    Returns:
        The sparse model; not compiled.

    Raises:
        TypeError: ``representative_data`` has no form that ``fit`` accepts, or ``pattern`` is no
            pattern.
        ValueError: the model is subclassed, not built, quantization-aware, computes with other
            weights than its kernels (``gated``), or has NaN weights; ``layers`` selects no layer
            that can be pruned; there is no data, or it does not fit the model or is not finite; or
            ``sparsity``, ``pattern`` and ``sparsity_distribution`` do not go together.

    Example:
    >>> pruned = tfc.prune_weights(model, x_train[:256], 0.5)
    >>> print(pruned.pruning_report)
    >>> export_tflite(pruned, "model.tflite", "int8", representative_data=x_train[:256])

    Method: Meng et al., "ALPS", 2024, https://arxiv.org/abs/2406.07831; layer by layer as in
    Frantar and Alistarh, "Optimal brain compression", 2022, https://arxiv.org/abs/2208.11580.
    """
    model = require_optimizable(model)
    check_sparsity("prune_weights", "sparsity", sparsity)
    pattern = as_pattern(pattern)
    batches = input_batches(model, representative_data, max_examples)
    pruned = rebuild(model, read_channels(model))
    linears, kernels = zip(*_chosen(pruned, layers), strict=True)
    counts = _counts(pruned, kernels, pattern, sparsity, sparsity_distribution)
    paths = {linear.path for linear in linears}
    run_dense, run_sparse = (functools.partial(each, training=False) for each in (model, pruned))
    with float32_computation(model):
        dense = [linear for linear in linear_layers(model)[0] if linear.path in paths]
        wanted = collect_outputs(dense, batches, _MAX_ROWS, run_dense)
    reports = []
    work = list(zip(linears, kernels, counts, strict=True))
    for linear, kernel, count in track(work, "pruning", disable=not progress, transient=True):
        with float32_computation(pruned):
            rows = collect_rows([linear], batches, _MAX_ROWS, run_sparse)[linear.path]
        samples = Samples.of(linear, rows, wanted.pop(linear.path))
        zeros_of = functools.partial(_zeros, linear, kernel, pattern, count)
        matrices = _fitted(linear.to_matrices(float64(linear.kernel)), samples, zeros_of)
        linear.kernel.assign(linear.from_matrices(matrices))
        if linear.bias is not None:
            linear.bias.assign(samples.best_bias(matrices))
        reports.append(
            PrunedLayer(
                linear.path,
                1.0 - np.count_nonzero(matrices) / matrices.size,
                samples.signal_to_noise(matrices),
            )
        )
    pruned.pruning_report = PruningReport(tuple(reports))
    return pruned


def _chosen(model: keras.Model, layers: LayerSelector) -> list[tuple[LinearLayer, Kernel]]:
    """Return the layers to prune and their kernels; warn of those that stay dense."""
    linears, reasons = linear_layers(model)
    linear_of = {id(linear.kernel): linear for linear in linears}
    kernels = [k for k in find_all_kernels(model, layers) if not k.depthwise]
    chosen, dense = [], {}
    for kernel in kernels:
        linear = linear_of.get(id(kernel.variable))
        if linear is None:
            dense[kernel.path] = reasons.get(kernel.layer_path, "its layer is not a linear one")
        elif kernel.variable.shape.num_elements() // linear.outputs > MAX_INPUTS:
            dense[kernel.path] = f"its outputs have more than {MAX_INPUTS} weights each"
        else:
            chosen.append((linear, kernel))
    named = "; ".join(f"{path!r} ({why})" for path, why in dense.items())
    if not chosen:
        raise ValueError(
            f"`layers` selects no kernel of model {model.name!r} that can be pruned after "
            f"training, those of Dense layers and convolutions: {named or 'there is none'}. "
            f"Received: layers={layers!r}"
        )
    if dense:
        warnings.warn(f"prune_weights does not prune {named}.", stacklevel=4)
    return chosen


def _counts(model, kernels, pattern, sparsity, distribution):
    """Return how many groups of weights to remove of each kernel."""
    if distribution is None:
        distribution = "lamp" if isinstance(pattern, Element) else "uniform"
    chooser = make_distribution(
        model,
        kernels,
        pattern,
        ConstantSparsity(sparsity, begin_step=0),
        scope="layer",
        sparsity_distribution=distribution,
        layer_sparsity=None,
        min_sparsity=None,
        max_sparsity=None,
    )
    scores = [
        pattern.pool(np.abs(float64(kernel.variable)), kernel.output_axes) for kernel in kernels
    ]
    sizes = [pattern.sizes(tuple(kernel.variable.shape), kernel.output_axes) for kernel in kernels]
    return [int(np.count_nonzero(groups)) for groups in chooser.choose(scores, sizes, sparsity)]


def _zeros(linear: LinearLayer, kernel: Kernel, pattern: Pattern, count: int, matrices):
    """Mark the groups of the smallest weights."""
    scores = pattern.pool(np.abs(linear.from_matrices(matrices)), kernel.output_axes)
    marked = pattern.spread(smallest(scores, count), tuple(kernel.variable.shape))
    return linear.to_matrices(marked)


def _fitted(matrices, samples: Samples, zeros_of):
    """Return sparse matrices fitted to the samples."""
    products = damped(samples.products, _DAMPING)
    wanted = products @ matrices + samples.products_with_missing(matrices)
    return sparse_least_squares(products, wanted, matrices, zeros_of)


def sparse_least_squares(
    products: np.ndarray,
    wanted: np.ndarray,
    matrices: np.ndarray,
    zeros_of: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return sparse matrices W (groups, n, m) of small tr(W' H W) / 2 - tr(W' B).

    Args:
        products: H (groups, n, n), positive definite.
        wanted: B (groups, n, m).
        matrices: the dense solution to start from (groups, n, m).
        zeros_of: from weights times the root mean square of their inputs, in that shape, to the
            boolean array of those to remove, which are small.

    Example:
    >>> products = np.array([[[1.0, 0.9], [0.9, 1.0]]])
    >>> dense = np.array([[[1.0], [0.9]]])
    >>> sparse_least_squares(products, products @ dense, dense, lambda w: abs(w) < abs(w).max())
    array([[[1.81],
            [0.  ]]])

    Method: alternating directions with a growing penalty, then conjugate gradients on the weights
    that stay: Meng et al., "ALPS: Improved optimization for highly sparse one-shot pruning for
    large language models", 2024, https://arxiv.org/abs/2406.07831.
    """
    scale = np.sqrt(np.diagonal(products, axis1=1, axis2=2))[:, :, None]
    products, wanted = products / (scale * scale.transpose(0, 2, 1)), wanted / scale
    values, vectors = np.linalg.eigh(products)
    values, transposed = values[:, :, None], vectors.transpose(0, 2, 1)
    sparse, dual, penalty = matrices * scale, np.zeros_like(wanted), _PENALTY
    zeros = np.zeros(matrices.shape, bool)
    for round_ in range(_ROUNDS):
        dense = vectors @ (transposed @ (wanted + penalty * sparse - dual) / (values + penalty))
        target = dense + dual / penalty
        previous, zeros = zeros, zeros_of(target)
        sparse = np.where(zeros, 0.0, target)
        dual += penalty * (dense - sparse)
        changed = np.mean(zeros != previous)
        if not changed and round_:
            break
        penalty *= _GROWTH
    return _conjugate_gradients(products, wanted, sparse, ~zeros) / scale


def _conjugate_gradients(products, wanted, start, kept):
    """Return the best matrices whose weights outside ``kept`` are zero, column by column."""
    found = start
    residual = np.where(kept, wanted - products @ found, 0.0)
    direction, energy = residual, np.sum(residual**2, 1, keepdims=True)
    enough = 1e-14 * np.sum(np.where(kept, wanted, 0.0) ** 2, 1, keepdims=True)
    for _ in range(_STEPS):
        if np.all(energy <= enough):
            break
        image = np.where(kept, products @ direction, 0.0)
        curvature = np.sum(direction * image, 1, keepdims=True)
        step = np.divide(energy, curvature, out=np.zeros_like(energy), where=curvature > 0)
        found, residual = found + step * direction, residual - step * image
        previous, energy = energy, np.sum(residual**2, 1, keepdims=True)
        grown = np.divide(energy, previous, out=np.zeros_like(energy), where=previous > 0)
        direction = residual + grown * direction
    return found
