"""Compressed sensing for channels: choose by LASSO, then repair the layers that read them.

Unlabelled samples are enough: what is reproduced is not the label but what the next layer computes
from its input (He et al., "Channel pruning for accelerating very deep neural networks", 2017,
https://arxiv.org/abs/1707.06168).
"""

import warnings

import keras
import numpy as np

from tfcompress.extras import missing_extra
from tfcompress.keras_graph.channels import ChannelFlow, read_channels
from tfcompress.pruning.channels.mixing import MixingLayer, collect_rows, mixing_layers

_MOST_ROWS = 4096  # positions that a layer's sums are taken over
_SAMPLES_OF_CHANNEL = 16384  # outputs at positions that the contributions are compared on
_RIDGE = 1e-5  # relative to the mean variance of an input: keeps the equations solvable


def entry_order(contributions: np.ndarray) -> np.ndarray:
    """Return how strong the L1 penalty is at which each of several summands is first needed.

    Args:
        contributions: float array (samples, channels): what each channel adds to a sum.

    Returns:
        float array (channels,): the largest penalty, relative to the one that leaves nothing, at
        which LASSO gives the channel a weight when it rebuilds the sum.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import lars_path_gram
    except ImportError as missing:
        raise ImportError(missing_extra("The criterion 'lasso'", "structure")) from missing
    gram = contributions.T.astype(np.float64) @ contributions
    total = gram.sum(1)
    if not total.any():
        return np.zeros(len(total))
    with warnings.catch_warnings():
        # Channels that repeat others are what we look for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        penalties, _, weights = lars_path_gram(
            Xy=total, Gram=gram, n_samples=len(contributions), method="lasso"
        )
    needed = weights != 0  # at each knot of the path; the weight starts to grow at the one before
    entered = penalties[np.maximum(needed.argmax(1) - 1, 0)]
    return np.where(needed.any(1), entered, 0.0) / penalties[0]


def lasso(model, flow: ChannelFlow, data=None, seed=0) -> dict[int, float]:
    """Score channels by how much the layers that read them need them.

    Args:
        model: the model.
        flow: its channels.
        data: some hundred inputs; labels are not needed.
        seed: of the outputs that are compared.

    Returns:
        The score of each bundle that a Dense layer or a plain convolution reads; others stay.

    Raises:
        ValueError: there is no data.
        ImportError: scikit-learn is missing.
    """
    if data is None:
        raise ValueError(
            "The criterion 'lasso' chooses channels on sample inputs: pass `data`, some hundred "
            "inputs; labels are not needed. Received: data=None"
        )
    readers = [m for m in mixing_layers(flow) if not flow.pinned[m.read].all()]
    rows = collect_rows(model, readers, data, _MOST_ROWS)
    generator = np.random.default_rng(seed)
    found: dict[int, list[float]] = {}
    for mixing in readers:
        order = entry_order(_contributions(mixing, rows[mixing.path], generator))
        for bundle, score in zip(flow.bundle_of[mixing.read], order, strict=True):
            found.setdefault(int(bundle), []).append(float(score))
    return {b: float(np.mean(s)) for b, s in found.items() if not flow.pinned[b]}


def _contributions(mixing: MixingLayer, rows, generator):
    matrix = mixing.matrix
    outputs = matrix.shape[-1]
    chosen = generator.permutation(outputs)[: max(_SAMPLES_OF_CHANNEL // len(rows), 1)]
    product = np.einsum("ptc,tco->poc", rows, matrix[..., chosen], optimize=True)
    flat = product.reshape(-1, product.shape[-1])
    return flat - flat.mean(0)


def least_squares(rows: np.ndarray, missing: np.ndarray, centred: bool = True):
    """Return the smallest change of a layer that makes up for what its outputs lack.

    Args:
        rows: float array (positions, inputs).
        missing: float array (positions, outputs).
        centred: whether a constant may be added to each output as well.

    Returns:
        float32 arrays: the change of the matrix (inputs, outputs), and that constant (outputs,).
    """
    rows, missing = rows.astype(np.float64), missing.astype(np.float64)
    mean = rows.mean(0) if centred else np.zeros(rows.shape[1])
    centre = missing.mean(0) if centred else np.zeros(missing.shape[1])
    centred_rows = rows - mean
    gram = centred_rows.T @ centred_rows
    gram += np.eye(len(gram)) * (_RIDGE * np.trace(gram) / len(gram) + 1e-12)
    matrix = np.linalg.solve(gram, centred_rows.T @ (missing - centre))
    return matrix.astype(np.float32), (centre - mean @ matrix).astype(np.float32)


def reconstruct(model: keras.Model, smaller: keras.Model, flow: ChannelFlow, removed, data) -> None:
    """Fit the layers of a smaller model that lost inputs to what the original computes.

    Layer after layer, from the input on, so that each makes up for the errors before it. Changes
    the kernels and biases of ``smaller``.

    Args:
        model: the original.
        smaller: what ``rebuild`` made of it.
        flow: the channels of the original.
        removed: the bundles that ``smaller`` lacks.
        data: some hundred inputs; labels are not needed.
    """
    kept = flow.kept(removed)
    originals = [m for m in mixing_layers(flow) if not kept[m.read].all()]
    rows = collect_rows(model, originals, data, _MOST_ROWS)
    repaired = {m.path: m for m in mixing_layers(read_channels(smaller))}
    for original in originals:
        mixing = repaired[original.path]
        outputs = kept[flow.records[id(original.layer)].made["outputs"]]
        wanted = _product(rows.pop(original.path), original.matrix[..., outputs])
        inputs = collect_rows(smaller, [mixing], data, _MOST_ROWS)[mixing.path]
        change, constant = least_squares(
            inputs.reshape(len(inputs), -1),
            wanted - _product(inputs, mixing.matrix),
            centred=mixing.layer.use_bias,
        )
        mixing.change(change, constant)


def _product(rows, matrix):
    return rows.reshape(len(rows), -1) @ matrix.reshape(-1, matrix.shape[-1])
