"""Importance criteria of channels: the channels with the lowest scores are removed first.

Each criterion gives one number to each set of coupled channels. Within a layer only the order
counts; between layers the numbers are comparable because each is divided by its layer's mean.
"""

from collections.abc import Callable

import keras
import numpy as np

from tfcompress.backends import weight_gradients
from tfcompress.data import as_called, count_examples, gather, map_arrays
from tfcompress.keras_graph.channels import ChannelFlow
from tfcompress.pruning.channels.reconstruction import lasso

_BATCH = 32

# From a model, its flow, data and a seed to the score of each set of coupled channels.
Importance = Callable[[keras.Model, ChannelFlow, object, int], dict[int, float]]


def l1(model, flow, data=None, seed=0):
    """Return the mean magnitude of the weights that produce a channel.

    Source: Li et al., "Pruning filters for efficient ConvNets", 2017,
    https://arxiv.org/abs/1608.08710.
    """
    return _from_weights(flow, lambda rows: np.abs(rows).mean(1))


def l2(model, flow, data=None, seed=0):
    """Return the root mean square of the weights that produce a channel."""
    return _from_weights(flow, lambda rows: np.sqrt(np.square(rows).mean(1)))


def geometric_median(model, flow, data=None, seed=0):
    """Return the mean distance of a filter to the others: the most replaceable are removed first.

    Source: He et al., "Filter pruning via geometric median", 2019,
    https://arxiv.org/abs/1811.00250.
    """

    def distances(rows):
        squares = np.square(rows).sum(1)
        squared = squares[:, None] + squares[None, :] - 2.0 * rows @ rows.T
        return np.sqrt(np.maximum(squared, 0.0)).mean(1)

    return _from_weights(flow, distances)


def gamma(model, flow, data=None, seed=0):
    """Return the magnitude of a channel's BatchNormalization scale.

    For models trained with an L1 penalty on these scales. Channels without a scale are not scored,
    and stay.

    Source: Liu et al., "Learning efficient convolutional networks through network slimming", 2017,
    https://arxiv.org/abs/1708.06519.
    """
    scores = _Scores(flow)
    for record in flow.records.values():
        if isinstance(record.layer, keras.layers.BatchNormalization) and record.layer.scale:
            for variable, _, ids in record.slices:
                if variable is record.layer.gamma:
                    scores.add(ids, np.abs(keras.ops.convert_to_numpy(variable)))
    return scores.mean()


def random(model, flow, data=None, seed=0):
    """Return random numbers: the baseline for other criteria."""
    free = np.unique(flow.coupled_set_of[~flow.pinned])
    return dict(zip(free.tolist(), np.random.default_rng(seed).random(len(free)), strict=True))


def taylor(model, flow, data=None, seed=0):
    """Return the squared first-order change of the loss if a channel were removed.

    The sum of gradient times weight over a channel's filter, squared, summed over the batches.

    Source: Molchanov et al., "Importance estimation for neural network pruning", 2019, equation 8,
    https://arxiv.org/abs/1906.10771.
    """
    if data is None or not model.compiled or model.loss is None:
        raise ValueError(
            "The criterion 'taylor' ranks channels by gradients of the loss: compile the model "
            "with its loss and pass `data=(x, y)`, a few hundred labelled examples. "
            f"Received: data of type {type(data).__name__}, compiled={model.compiled}"
        )
    slices = [item for record in flow.records.values() for item in _producing(record)]
    weights = [keras.ops.convert_to_numpy(variable) for variable, _, _ in slices]
    totals = [0.0] * len(slices)
    gradients = weight_gradients(model, [variable for variable, _, _ in slices])
    inputs, labels = gather(data)
    if labels is None:
        raise ValueError(
            "The criterion 'taylor' needs labels: pass `data=(x, y)`. Received: inputs alone"
        )
    for start in range(0, count_examples(inputs), _BATCH):
        x, y = (
            map_arrays(part, lambda array, start=start: array[start : start + _BATCH])
            for part in (as_called(inputs), labels)
        )
        for index, gradient in enumerate(gradients(x, y)):
            if gradient is not None:
                axis = slices[index][1]
                change = np.moveaxis(gradient * weights[index], axis, 0)
                totals[index] = totals[index] + np.square(change.reshape(len(change), -1).sum(1))
    scores = _Scores(flow)
    for (_, _, ids), total in zip(slices, totals, strict=True):
        scores.add(ids, np.broadcast_to(total, ids.shape))
    return scores.mean()


CRITERIA: dict[str, Importance] = {
    "lasso": lasso,
    "gamma": gamma,
    "geometric_median": geometric_median,
    "l1": l1,
    "l2": l2,
    "random": random,
    "taylor": taylor,
}


class _Scores:
    """Averages the scores of channels over those that are coupled."""

    def __init__(self, flow):
        self._coupled_set_of = flow.coupled_set_of
        self._free = ~flow.pinned
        self._sums = np.zeros(len(flow.coupled_set_of))
        self._counts = np.zeros(len(flow.coupled_set_of))

    def add(self, ids, values):
        size = np.mean(values)
        sets = self._coupled_set_of[ids]
        np.add.at(self._sums, sets, values / size if size > 0 else values)
        np.add.at(self._counts, sets, 1.0)

    def mean(self):
        found = np.flatnonzero((self._counts > 0) & self._free)
        return {int(b): float(self._sums[b] / self._counts[b]) for b in found}


def _producing(record):
    """Return the slices of a layer's kernels along the channels that it produces."""
    made = list(record.made.values())
    return [
        (variable, axis, ids)
        for variable, axis, ids in record.slices
        if len(variable.shape) >= 2 and any(np.isin(ids, m).all() for m in made)
    ]


def _from_weights(flow, rows_to_scores):
    """Score channels by a function of the weights that produce them: (channels, weights)."""
    scores = _Scores(flow)
    for record in flow.records.values():
        for variable, axis, ids in _producing(record):
            rows = np.moveaxis(keras.ops.convert_to_numpy(variable), axis, 0)
            scores.add(ids, rows_to_scores(rows.reshape(len(rows), -1)))
    return scores.mean()
