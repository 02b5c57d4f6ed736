"""Cross-layer equalization: channels scaled between layers, so that rounding costs less."""

import dataclasses

import keras
import numpy as np

from tfcompress.post_training.balance import Channels, Weights, best_scales
from tfcompress.post_training.grids import WeightGrids
from tfcompress.post_training.linear import LinearLayer, float64
from tfcompress.post_training.links import Link, Reader, find_links
from tfcompress.post_training.observing import Observed, observe
from tfcompress.post_training.report import StepReport
from tfcompress.post_training.workbench import Workbench

_SWEEPS = 4  # a layer reads one link and makes another, so their scales depend on each other


@dataclasses.dataclass(frozen=True)
class Equalize:
    """The step "equalize": scales of channels, moved between layers where that changes nothing.

    A channel that is divided where it is made, and multiplied where it is read, gives the same
    outputs. The scales are those at which rounding weights and activations makes the least noise
    at the outputs of the model, as far as small noise adds up. Where ReLU6, or another cap, lies in
    between, channels that come near it stay as they are.

    Attributes:
        headroom: the share of a cap that a channel may come up to on the data, before and after.

    Raises:
        ValueError: ``headroom`` is not in (0, 1].

    Method: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
    2019, https://arxiv.org/abs/1906.04721; activations are weighed against weights as in Xiao et
    al., "SmoothQuant", 2022, https://arxiv.org/abs/2211.10438.
    """

    headroom: float = 0.8

    def __post_init__(self):
        if not 0 < self.headroom <= 1:
            raise ValueError(f"`headroom` is in (0, 1]. Received: headroom={self.headroom!r}")

    def cost(self, bench: Workbench) -> float:
        """Return the passes over the data that the step makes."""
        del bench
        return 1.0

    def apply(self, bench: Workbench) -> StepReport:
        """Scale the channels of the model on a workbench, and say which."""
        links, left = find_links(bench.model)
        seen = observe(bench.model, bench.linears, bench.batches)
        scales = [np.ones(link.maker.outputs) for link in links]
        for _ in range(_SWEEPS):
            for number, link in enumerate(links):
                found = best_scales(self._channels(link, seen, bench))
                scales[number] *= found
                _apply(link, found, seen)
        changed = []
        for link, scale in zip(links, scales, strict=True):
            if (scale == 1.0).all():
                left[link.maker.path] = "no scale was found to make less noise"
            else:
                changed.append(str(link))
        bench.settle_reference()
        return StepReport("equalize", tuple(changed), left)

    def _channels(self, link: Link, seen: dict[str, Observed], bench: Workbench) -> Channels:
        grids, maker, count = bench.grids, seen[link.maker.path], link.maker.outputs
        read = [(reader, seen[reader.linear.path]) for reader in link.readers]
        free, least = np.ones(count, bool), np.zeros(count)
        if np.isfinite(link.cap):
            most = self.headroom * link.cap
            free = maker.peak <= most
            least = np.where(free, np.maximum(maker.peak, 0.0) / most, 0.0)
        bits = bench.scheme.activation_bits
        return Channels(
            smallest=_extreme(np.minimum, [(r, o.smallest) for r, o in read], count),
            largest=_extreme(np.maximum, [(r, o.largest) for r, o in read], count),
            energy=sum(np.bincount(r.channels, o.input_energy, count) for r, o in read),
            made_by=_makers_weights(link.maker, maker, grids),
            read_by=tuple(_readers_weights(r, o, grids, count) for r, o in read),
            free=free,
            least=least,
            levels=2.0**bits - 1.0,
        )


def _makers_weights(linear: LinearLayer, seen: Observed, grids: WeightGrids) -> Weights:
    def of_outputs(array):
        matrices = linear.to_matrices(array)  # (groups, inputs, outputs of a group)
        return matrices.transpose(0, 2, 1).reshape(linear.outputs, -1)

    values = of_outputs(float64(linear.kernel))
    shared = np.broadcast_to(grids.shared(linear)[:, None], values.shape)
    return Weights(values, of_outputs(seen.kernel_energy), shared, grids.levels(linear))


def _readers_weights(reader: Reader, seen: Observed, grids: WeightGrids, count: int) -> Weights:
    linear = reader.linear
    order = np.argsort(reader.channels, kind="stable")

    def of_inputs(array):
        by_channels = linear.by_channels(array)  # (taps, inputs, outputs of a group)
        return by_channels.transpose(1, 0, 2)[order].reshape(count, -1)

    each_weight = linear.from_matrices(
        np.broadcast_to(
            grids.shared(linear).reshape(linear.groups, 1, -1),
            linear.to_matrices(seen.kernel_energy).shape,
        )
    )
    values, energy = of_inputs(float64(linear.kernel)), of_inputs(seen.kernel_energy)
    return Weights(values, energy, of_inputs(each_weight), grids.levels(linear))


def _apply(link: Link, scales: np.ndarray, seen: dict[str, Observed]) -> None:
    """Scale the weights, and what was observed with them."""
    maker, observed = link.maker, seen[link.maker.path]
    groups = (maker.groups, 1, -1)

    def divided(array, by):
        return maker.from_matrices(maker.to_matrices(array) / by.reshape(groups))

    maker.kernel.assign(divided(float64(maker.kernel), scales))
    if maker.bias is not None:
        maker.bias.assign(keras.ops.convert_to_numpy(maker.bias) / scales)
    seen[maker.path] = dataclasses.replace(
        observed,
        peak=observed.peak / scales,
        kernel_energy=divided(observed.kernel_energy, 1.0 / np.square(scales)),
    )
    for reader in link.readers:
        linear, by = reader.linear, scales[reader.channels]
        observed = seen[linear.path]

        def multiplied(array, factor, linear=linear):
            return linear.from_channels(linear.by_channels(array) * factor[None, :, None])

        linear.kernel.assign(multiplied(float64(linear.kernel), by))
        seen[linear.path] = dataclasses.replace(
            observed,
            smallest=observed.smallest / by,
            largest=observed.largest / by,
            input_energy=observed.input_energy * np.square(by),
            kernel_energy=multiplied(observed.kernel_energy, 1.0 / np.square(by)),
        )


def _extreme(function, found, count: int) -> np.ndarray:
    result = np.zeros(count)
    for reader, values in found:
        function.at(result, reader.channels, values)
    return result
