"""Which weights a gate belongs to.

A channel is gated where it is read: by the kernels that mix it with others. The gates of a bundle
of channels that only go together are one gate, and closing it leaves just what the model without
the channels computes, whatever normalizations lie between.
"""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from tfcompress.keras_graph.channels import ChannelFlow, ChannelGroup, read_channels, rebuild
from tfcompress.keras_graph.kernels import Kernel, find_kernels
from tfcompress.keras_graph.selection import walk_layers
from tfcompress.pruning.masks import count_masked, smallest


@dataclasses.dataclass(frozen=True)
class GatedWeights:
    """A variable whose values are multiplied by gates.

    Attributes:
        layer: the layer in whose call that happens.
        variable: the variable.
        factors: (axis, int array of the gate of each slice on it, 0 for none, from 1 on).
    """

    layer: keras.Layer
    variable: keras.Variable
    factors: tuple[tuple[int, np.ndarray], ...]


class ChannelGates:
    """One gate for each bundle of channels.

    Args:
        model: the user's model.
        flow: its channels.
        groups: those of its groups that are gated.

    Attributes:
        shapes: the shape of each array of gates, by name.
    """

    def __init__(self, model: keras.Model, flow: ChannelFlow, groups: Sequence[ChannelGroup]):
        self._model = model
        self._flow = flow
        self._bundles = [bundle for group in groups for bundle in group.bundles]
        self.shapes = {"channels": (len(self._bundles),)}
        numbers = np.zeros(len(flow.bundle_of), dtype=int)
        numbers[self._bundles] = np.arange(1, len(self._bundles) + 1)
        self._gate_of = numbers[flow.bundle_of]
        kernels = {id(kernel.variable): kernel for kernel in find_kernels(model)}
        self._weights = [
            GatedWeights(record.layer, kernels[key].variable, tuple(factors))
            for record in flow.records.values()
            for key, factors in self._reading(record, kernels).items()
        ]

    def _reading(self, record, kernels):
        found: dict[int, list] = {}
        for variable, axis, ids in record.slices:
            kernel = kernels.get(id(variable))
            if kernel is None or kernel.depthwise or axis in kernel.output_axes:
                continue
            if self._gate_of[ids].any():
                found.setdefault(id(variable), []).append((axis, self._gate_of[ids]))
        return found

    def swaps(self, gates) -> list[tuple[keras.Layer, keras.Variable, object]]:
        """Return (layer, variable, its values under the gates)."""
        padded = ops.concatenate([ops.ones((1,), "float32"), gates[0]])
        swaps = []
        for weights in self._weights:
            values = ops.cast(weights.variable, "float32")
            for axis, numbers in weights.factors:
                shape = [-1 if i == axis else 1 for i in range(len(values.shape))]
                values = values * ops.reshape(ops.take(padded, numbers), shape)
            swaps.append((weights.layer, weights.variable, values))
        return swaps

    def closed(self, logits: list[np.ndarray], sparsity: float) -> list[np.ndarray]:
        """Mark exactly a share of the gates, the lowest; each layer keeps a channel."""
        stays = np.zeros(len(self._bundles), dtype=bool)
        for record in self._flow.records.values():
            for made in record.made.values():
                gates = self._gate_of[made] - 1
                if len(gates) and (gates >= 0).all():
                    stays[gates[np.argmax(logits[0][gates])]] = True
        count = min(count_masked(len(stays), sparsity), int(np.count_nonzero(~stays)))
        return [smallest(np.where(stays, np.inf, logits[0]), count)]

    def fold(self, gates: list[np.ndarray]) -> keras.Model:
        """Return a smaller model: the gates multiplied in, the closed ones' channels removed."""
        twin = rebuild(self._model, self._flow)
        twins = _counterparts(self._model, twin)
        for _, variable, values in self.swaps([ops.convert_to_tensor(gates[0])]):
            twins[id(variable)].assign(values)
        removed = [b for b, gate in zip(self._bundles, gates[0], strict=True) if gate == 0]
        return rebuild(twin, read_channels(twin), removed)


class ElementGates:
    """One gate for each weight of some kernels.

    Args:
        model: the user's model.
        flow: its channels.
        kernels: the kernels that are gated.

    Attributes:
        shapes: the shape of each array of gates, by name.
    """

    def __init__(self, model: keras.Model, flow: ChannelFlow, kernels: Sequence[Kernel]):
        self._model = model
        self._flow = flow
        self._kernels = kernels
        self.shapes = {
            kernel.path.replace("/", "_"): tuple(kernel.variable.shape) for kernel in kernels
        }
        # A recurrent layer may compute with the weights of its cell by itself.
        owners = {id(getattr(layer, "cell", None)): layer for _, layer in walk_layers(model)}
        self._callers = [owners.get(id(kernel.layer), kernel.layer) for kernel in kernels]

    def swaps(self, gates) -> list[tuple[keras.Layer, keras.Variable, object]]:
        """Return (layer, variable, its values under the gates)."""
        return [
            (caller, kernel.variable, ops.cast(kernel.variable, "float32") * gate)
            for caller, kernel, gate in zip(self._callers, self._kernels, gates, strict=True)
        ]

    def closed(self, logits: list[np.ndarray], sparsity: float) -> list[np.ndarray]:
        """Mark exactly a share of the gates, the lowest; each kernel keeps a weight."""
        ranked = [values.astype(np.float64) for values in logits]
        for values in ranked:
            values.flat[np.argmax(values)] = np.inf
        flat = np.concatenate([values.ravel() for values in ranked])
        count = min(count_masked(len(flat), sparsity), len(flat) - len(ranked))
        marked = np.split(smallest(flat, count), np.cumsum([v.size for v in ranked])[:-1])
        return [part.reshape(values.shape) for part, values in zip(marked, ranked, strict=True)]

    def fold(self, gates: list[np.ndarray]) -> keras.Model:
        """Return a copy of the model with the gates multiplied into its kernels."""
        twin = rebuild(self._model, self._flow)
        twins = _counterparts(self._model, twin)
        for _, variable, values in self.swaps([ops.convert_to_tensor(gate) for gate in gates]):
            twins[id(variable)].assign(values)
        return twin


def _counterparts(model, twin):
    return {id(one): other for one, other in zip(model.weights, twin.weights, strict=True)}
