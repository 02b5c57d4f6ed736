"""Channel selection by LASSO, and least-squares reconstruction of the layers that read channels.

Unlabelled samples are enough: the target is what the next layer computes from its input (He et al.,
"Channel pruning for accelerating very deep neural networks", 2017,
https://arxiv.org/abs/1707.06168).
"""

import warnings

import keras
import numpy as np

from tfcompress.data import iterate_inputs
from tfcompress.extras import missing_extra
from tfcompress.keras_graph.channels import ChannelFlow, read_channels
from tfcompress.keras_graph.linear_layers import LinearLayer, collect_rows, linear_layers

_MAX_ROWS = 4096  # positions per layer
_SAMPLES_PER_CHANNEL = 16384  # outputs at positions on which contributions are compared
_RIDGE = 1e-5  # relative to the mean variance of an input: keeps the equations solvable


def entry_order(contributions: np.ndarray) -> np.ndarray:
    """Return the relative L1 penalty at which LASSO first gives a weight to each channel.

    ``contributions`` (samples, channels) is what each channel adds to a sum that LASSO rebuilds.
    The penalty is relative to the one that leaves no channel.
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
        # Redundant channels are what we look for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        penalties, _, weights = lars_path_gram(
            Xy=total, Gram=gram, n_samples=len(contributions), method="lasso"
        )
    needed = weights != 0  # at each knot of the path; the weight starts to grow at the one before
    entered = penalties[np.maximum(needed.argmax(1) - 1, 0)]
    return np.where(needed.any(1), entered, 0.0) / penalties[0]


def lasso(model, flow: ChannelFlow, data=None, seed=0) -> dict[int, float]:
    """Score coupled channels by how much the layers that read them need them.

    Channels that no Dense layer or ungrouped convolution reads are not scored, and stay.
    """
    if data is None:
        raise ValueError(
            "The criterion 'lasso' requires sample inputs: pass `data`, a few hundred inputs; "
            "labels are not needed. Received: data=None"
        )
    readers = [
        linear for linear in _readers(model, flow) if not flow.pinned[_read(flow, linear)].all()
    ]
    rows = _collect(model, readers, data)
    generator = np.random.default_rng(seed)
    found: dict[int, list[float]] = {}
    for linear in readers:
        order = entry_order(_contributions(linear, rows[linear.path], generator))
        for coupled, score in zip(flow.coupled_set_of[_read(flow, linear)], order, strict=True):
            found.setdefault(int(coupled), []).append(float(score))
    return {b: float(np.mean(s)) for b, s in found.items() if not flow.pinned[b]}


def _readers(model: keras.Model, flow: ChannelFlow) -> list[LinearLayer]:
    """List the Dense layers and ungrouped convolutions that read known channels."""
    return [
        linear
        for linear in linear_layers(model)[0]
        if linear.groups == 1 and _read(flow, linear) is not None
    ]


def _read(flow, linear):
    """Return the channels that a layer reads, or None."""
    return flow.records[id(linear.layer)].read.get("inputs")


def _collect(model, linears, data) -> dict[str, np.ndarray]:
    """Return what the matrices of layers multiply: float32 arrays (positions, inputs) by path."""
    batches = list(iterate_inputs(data))
    rows = collect_rows(linears, batches, _MAX_ROWS, lambda batch: model(batch, training=False))
    return {path: values[:, 0] for path, values in rows.items()}


def _matrix(linear: LinearLayer) -> np.ndarray:
    """Return the kernel as an array (taps * channels, outputs)."""
    return keras.ops.convert_to_numpy(linear.kernel).reshape(-1, linear.outputs)


def _contributions(linear: LinearLayer, rows, generator):
    """Return what each channel adds to some outputs of a layer, centered: (samples, channels)."""
    chosen = generator.permutation(linear.outputs)[: max(_SAMPLES_PER_CHANNEL // len(rows), 1)]
    matrix = _matrix(linear)[:, chosen].reshape(-1, linear.inputs, len(chosen))
    rows = rows.reshape(len(rows), -1, linear.inputs)
    product = np.einsum("ptc,tco->poc", rows, matrix, optimize=True)
    flat = product.reshape(-1, product.shape[-1])
    return flat - flat.mean(0)


def least_squares(rows: np.ndarray, missing: np.ndarray, centered: bool = True):
    """Return the smallest change of a layer that adds what its outputs lack.

    Takes ``rows`` (positions, inputs) and ``missing`` (positions, outputs). Returns float32 changes
    of the matrix (inputs, outputs) and of the bias (outputs,); the latter is zero unless
    ``centered``.
    """
    rows, missing = rows.astype(np.float64), missing.astype(np.float64)
    mean = rows.mean(0) if centered else np.zeros(rows.shape[1])
    center = missing.mean(0) if centered else np.zeros(missing.shape[1])
    centered_rows = rows - mean
    gram = centered_rows.T @ centered_rows
    gram += np.eye(len(gram)) * (_RIDGE * np.trace(gram) / len(gram) + 1e-12)
    matrix = np.linalg.solve(gram, centered_rows.T @ (missing - center))
    return matrix.astype(np.float32), (center - mean @ matrix).astype(np.float32)


def reconstruct(model: keras.Model, smaller: keras.Model, flow: ChannelFlow, removed, data) -> None:
    """Fit the layers of ``smaller`` that lost input channels to what ``model`` computes on data.

    Layers are fitted in the order of the model, so that each compensates the errors before it.
    """
    kept = flow.kept(removed)
    originals = [x for x in _readers(model, flow) if not kept[_read(flow, x)].all()]
    rows = _collect(model, originals, data)
    fitted = {x.path: x for x in _readers(smaller, read_channels(smaller))}
    for original in originals:
        linear = fitted[original.path]
        outputs = kept[flow.records[id(original.layer)].made["outputs"]]
        wanted = rows.pop(original.path) @ _matrix(original)[:, outputs]
        inputs = _collect(smaller, [linear], data)[linear.path]
        missing = wanted - inputs @ _matrix(linear)
        change, constant = least_squares(inputs, missing, centered=linear.bias is not None)
        linear.kernel.assign_add(change.reshape(linear.kernel.shape))
        if linear.bias is not None:
            linear.bias.assign_add(constant)
