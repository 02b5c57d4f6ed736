"""Cross-layer equalization: channels scaled between layers so that rounding costs less.

A channel divided by ``s`` in its producer and multiplied by ``s`` in its consumers gives the same
outputs in float. Rounding adds a noise that depends on the largest weights and activations that
share a scale; how much of it reaches the outputs depends on the channel.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import keras
import numpy as np

from tfcompress.keras_graph.linear_layers import LinearLayer, float64
from tfcompress.post_training.observation import Observation, observe
from tfcompress.post_training.report import StepReport
from tfcompress.post_training.scaling_sets import Consumer, ScalingSet, find_scaling_sets
from tfcompress.post_training.session import Session, WeightGrids

_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_MAX_LOG_SCALE = np.log(1e3)  # relative to the median channel
_SWEEPS = 4  # a layer is a consumer of one set and the producer of another: their scales interact


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights that are scaled with some channels."""

    values: np.ndarray  # float array (channels, weights per channel)
    # Of the same shape: noise at the outputs for noise of variance 1 in a weight.
    sensitivity: np.ndarray
    scale_indices: np.ndarray  # int array of the same shape: the scale of each weight
    levels: float  # the largest integer of the grid; infinite for weights that are not rounded

    def noise(self, scales: np.ndarray) -> float:
        """Return the noise at the outputs if each channel is multiplied by its scale."""
        scaled = np.abs(self.values * scales[:, None])
        limits = np.zeros(self.scale_indices.max() + 1)
        np.maximum.at(limits, self.scale_indices.ravel(), scaled.ravel())
        steps = limits[self.scale_indices] / self.levels / scales[:, None]
        return float(np.sum(np.square(steps) * self.sensitivity) / 12.0)


@dataclasses.dataclass(frozen=True)
class Channels:
    """The channels between a producer and its consumers; arrays have the shape (channels,)."""

    smallest: np.ndarray  # the smallest value of each channel, at most 0
    largest: np.ndarray  # the largest value, at least 0
    sensitivity: np.ndarray  # noise at the outputs for noise of variance 1 in the channel
    produced_by: Weights  # the weights that produce them
    consumed_by: tuple[Weights, ...]  # the weights that read them, of each consumer
    free: np.ndarray  # bool: which channels may be scaled
    min_scale: np.ndarray  # the lower limit of each scale
    levels: float  # number of steps of the activation grid; infinite if not rounded

    def noise(self, scales: np.ndarray) -> float:
        """Predict the noise at the outputs if the producer's channels are divided by ``scales``."""
        span = (self.largest / scales).max() - (self.smallest / scales).min()
        noise = (span / self.levels) ** 2 / 12.0 * float(self.sensitivity @ np.square(scales))
        noise += self.produced_by.noise(1.0 / scales)
        return noise + sum(weights.noise(scales) for weights in self.consumed_by)


def best_scales(channels: Channels) -> np.ndarray:
    """Find the scales (channels,) with the least predicted noise; ones if nothing is better.

    The candidates are products of powers of the range of each channel, of its largest weight in the
    producer, and of its largest weight in the consumers. They include the square root of the two
    ranges of weights (Nagel et al., 2019) and SmoothQuant's trade-off (Xiao et al., 2022).
    """
    produced = _largest([channels.produced_by])
    consumed = _largest(channels.consumed_by)
    span = np.maximum(channels.largest, -channels.smallest)
    free = channels.free & (produced > 0) & (consumed > 0) & (span > 0)
    best = np.ones(len(span))
    if not free.any():
        return best
    least = channels.noise(best)
    for exponents in itertools.product(_EXPONENTS, repeat=3):
        ranges = (span, produced, consumed)
        scales = _candidate(ranges, exponents, free, channels.min_scale)
        noise = channels.noise(scales)
        if noise < least:
            best, least = scales, noise
    return best


def _candidate(ranges, exponents, free, min_scale):
    """Return one product of powers, which keeps the range of all channels together."""
    span, produced, consumed = (np.log(values[free]) for values in ranges)
    powers = exponents[0] * span + exponents[1] * produced - exponents[2] * consumed
    powers += (span - powers).max() - np.log(ranges[0].max())
    middle = np.median(powers)
    scales = np.ones(len(free))
    scales[free] = np.exp(np.clip(powers, middle - _MAX_LOG_SCALE, middle + _MAX_LOG_SCALE))
    return np.maximum(scales, min_scale)


def _largest(weights: Sequence[Weights]) -> np.ndarray:
    """Return the largest magnitude of each channel's weights."""
    return np.max([np.abs(w.values).max(1) for w in weights], axis=0)


@dataclasses.dataclass(frozen=True)
class Equalize:
    """The step "equalize": cross-layer equalization.

    Channels are divided in the layer that produces them and multiplied in those that read them,
    which gives the same outputs. The scales minimize the predicted noise of rounding weights and
    activations at the outputs of the model. If ReLU6 or another cap lies in between, channels that
    come close to the cap are not scaled.

    Attributes:
        headroom: the fraction of a cap that a channel may reach on the data, before and after.

    Raises:
        ValueError: ``headroom`` is not in (0, 1].

    Method: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
    2019, https://arxiv.org/abs/1906.04721; activations are weighed against weights as in Xiao et
    al., "SmoothQuant", 2022, https://arxiv.org/abs/2211.10438.
    """

    headroom: float = 0.8

    def __post_init__(self):
        if not 0 < self.headroom <= 1:
            raise ValueError(f"`headroom` must lie in (0, 1]. Received: headroom={self.headroom!r}")

    def cost(self, session: Session) -> float:
        """Return the passes over the data that the step makes."""
        del session
        return 1.0

    def apply(self, session: Session) -> StepReport:
        """Scale the channels of the session's model."""
        sets, unchanged = find_scaling_sets(session.model)
        observations = observe(session.model, session.linears, session.batches)
        scales = [np.ones(scaling_set.producer.outputs) for scaling_set in sets]
        for _ in range(_SWEEPS):
            for number, scaling_set in enumerate(sets):
                found = best_scales(self._channels(scaling_set, observations, session))
                scales[number] *= found
                _scale(scaling_set, found, observations)
        changed = []
        for scaling_set, scale in zip(sets, scales, strict=True):
            if (scale == 1.0).all():
                unchanged[scaling_set.producer.path] = "no scales reduce the predicted noise"
            else:
                changed.append(str(scaling_set))
        session.update_reference()
        return StepReport("equalize", tuple(changed), unchanged)

    def _channels(
        self, scaling_set: ScalingSet, observations: dict[str, Observation], session: Session
    ) -> Channels:
        """Return what the scales of a set depend on."""
        producer, grids = scaling_set.producer, session.grids
        own, count = observations[producer.path], producer.outputs
        read = [(c, observations[c.linear.path]) for c in scaling_set.consumers]
        free, min_scale = np.ones(count, bool), np.zeros(count)
        if np.isfinite(scaling_set.cap):
            limit = self.headroom * scaling_set.cap
            free = own.peak <= limit
            min_scale = np.where(free, np.maximum(own.peak, 0.0) / limit, 0.0)
        return Channels(
            smallest=_extreme(np.minimum, [(c, o.smallest) for c, o in read], count),
            largest=_extreme(np.maximum, [(c, o.largest) for c, o in read], count),
            sensitivity=sum(np.bincount(c.channels, o.input_sensitivity, count) for c, o in read),
            produced_by=_producer_weights(producer, own, grids),
            consumed_by=tuple(_consumer_weights(c, o, grids, count) for c, o in read),
            free=free,
            min_scale=min_scale,
            levels=2.0**session.scheme.activation_bits - 1.0,
        )


def _producer_weights(linear: LinearLayer, own: Observation, grids: WeightGrids) -> Weights:
    """Return the weights of a producer by output channel."""

    def by_outputs(array):
        matrices = linear.to_matrices(array)  # (groups, inputs, outputs of a group)
        return matrices.transpose(0, 2, 1).reshape(linear.outputs, -1)

    values = by_outputs(float64(linear.kernel))
    indices = np.broadcast_to(grids.scale_indices(linear)[:, None], values.shape)
    return Weights(values, by_outputs(own.kernel_sensitivity), indices, grids.levels(linear))


def _consumer_weights(
    consumer: Consumer, own: Observation, grids: WeightGrids, count: int
) -> Weights:
    """Return the weights of a consumer by the producer's channel."""
    linear = consumer.linear
    order = np.argsort(consumer.channels, kind="stable")

    def by_inputs(array):
        by_channels = linear.to_channels(array)  # (taps, inputs, outputs of a group)
        return by_channels.transpose(1, 0, 2)[order].reshape(count, -1)

    indices = linear.from_matrices(
        np.broadcast_to(
            grids.scale_indices(linear).reshape(linear.groups, 1, -1),
            linear.to_matrices(own.kernel_sensitivity).shape,
        )
    )
    values, sensitivity = by_inputs(float64(linear.kernel)), by_inputs(own.kernel_sensitivity)
    return Weights(values, sensitivity, by_inputs(indices), grids.levels(linear))


def _scale(
    scaling_set: ScalingSet, scales: np.ndarray, observations: dict[str, Observation]
) -> None:
    """Scale the weights of a set, and what was observed of them."""
    producer, own = scaling_set.producer, observations[scaling_set.producer.path]
    groups = (producer.groups, 1, -1)

    def divided(array, by):
        return producer.from_matrices(producer.to_matrices(array) / by.reshape(groups))

    producer.kernel.assign(divided(float64(producer.kernel), scales))
    if producer.bias is not None:
        producer.bias.assign(keras.ops.convert_to_numpy(producer.bias) / scales)
    own.peak = own.peak / scales
    own.kernel_sensitivity = divided(own.kernel_sensitivity, 1.0 / np.square(scales))
    for consumer in scaling_set.consumers:
        linear, by = consumer.linear, scales[consumer.channels]
        own = observations[linear.path]

        def multiplied(array, factor, linear=linear):
            return linear.from_channels(linear.to_channels(array) * factor[None, :, None])

        linear.kernel.assign(multiplied(float64(linear.kernel), by))
        own.smallest = own.smallest / by
        own.largest = own.largest / by
        own.input_sensitivity = own.input_sensitivity * np.square(by)
        own.kernel_sensitivity = multiplied(own.kernel_sensitivity, 1.0 / np.square(by))


def _extreme(function, values, count: int) -> np.ndarray:
    """Return the extreme of the consumers' values of each channel, with 0."""
    result = np.zeros(count)
    for consumer, own in values:
        function.at(result, consumer.channels, own)
    return result
