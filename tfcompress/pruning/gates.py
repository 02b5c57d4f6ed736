"""A model that learns which channels or weights it can do without (L0 regularization)."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from tfcompress.compat.keras_training import without_autocast
from tfcompress.keras_graph.channels import ChannelFlow, ChannelGroup, read_channels, rebuild
from tfcompress.keras_graph.channels.flow import require_functional
from tfcompress.keras_graph.interception import VariableSwap, intercepted_calls
from tfcompress.keras_graph.kernels import Kernel, find_kernels
from tfcompress.keras_graph.selection import LayerSelector, select_layers, walk_layers
from tfcompress.keras_graph.wrapper import ModelWrapper, require_built, take_model
from tfcompress.pruning import hard_concrete
from tfcompress.pruning.channels.removal import selected_groups
from tfcompress.pruning.masks import count_masked, smallest
from tfcompress.pruning.pruner import prunable_kernels
from tfcompress.pruning.schedules import check_sparsity
from tfcompress.pruning.sparse_optimization import next_strength

_GROUPS = ("channel", "element")
_MIN_NOISE = 1e-6
_FAST_GAIN, _MAX_MISS = 12.0, 0.3  # of the immediate correction: up to a factor of exp(3.6)


@dataclasses.dataclass(frozen=True)
class GatedWeights:
    """A variable that is multiplied by gates in the call of a layer.

    ``factors`` holds, for each axis, the number of the gate of each slice; 0 for none.
    """

    layer: keras.Layer
    variable: keras.Variable
    factors: tuple[tuple[int, np.ndarray], ...]


class ChannelGates:
    """One gate for each set of coupled channels.

    A channel is gated in the kernels that read it. Closing its gate gives exactly the outputs of
    the model without the channel, whatever normalizations lie in between.
    """

    def __init__(self, model: keras.Model, flow: ChannelFlow, groups: Sequence[ChannelGroup]):
        self._model = model
        self._flow = flow
        self._coupled = [coupled for group in groups for coupled in group.coupled_sets]
        self.shapes = {"channels": (len(self._coupled),)}  # of each array of gates, by name
        numbers = np.zeros(len(flow.coupled_set_of), dtype=int)
        numbers[self._coupled] = np.arange(1, len(self._coupled) + 1)
        self._gate_of = numbers[flow.coupled_set_of]
        kernels = {id(kernel.variable): kernel for kernel in find_kernels(model)}
        self._weights = [
            GatedWeights(record.layer, kernels[key].variable, tuple(factors))
            for record in flow.records.values()
            for key, factors in self._reading(record, kernels).items()
        ]

    def _reading(self, record, kernels):
        """Return the gates on the input axes of a layer's kernels."""
        found: dict[int, list] = {}
        for variable, axis, ids in record.slices:
            kernel = kernels.get(id(variable))
            if kernel is None or kernel.depthwise or axis in kernel.output_axes:
                continue
            if self._gate_of[ids].any():
                found.setdefault(id(variable), []).append((axis, self._gate_of[ids]))
        return found

    def swaps(self, gates) -> list[tuple[keras.Layer, keras.Variable, object]]:
        """Return (layer, variable, gated values)."""
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
        """Mark an exact fraction of the gates, the lowest; each layer keeps a channel."""
        stays = np.zeros(len(self._coupled), dtype=bool)
        for record in self._flow.records.values():
            for made in record.made.values():
                gates = self._gate_of[made] - 1
                if len(gates) and (gates >= 0).all():
                    stays[gates[np.argmax(logits[0][gates])]] = True
        count = min(count_masked(len(stays), sparsity), int(np.count_nonzero(~stays)))
        return [smallest(np.where(stays, np.inf, logits[0]), count)]

    def fold(self, gates: list[np.ndarray]) -> keras.Model:
        """Return a smaller model: gates multiplied into kernels, closed channels removed."""
        copy = _folded_copy(self._model, self._flow, self.swaps, gates)
        removed = [b for b, gate in zip(self._coupled, gates[0], strict=True) if gate == 0]
        return rebuild(copy, read_channels(copy), removed)


class ElementGates:
    """One gate for each weight of some kernels."""

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
        """Return (layer, variable, gated values)."""
        return [
            (caller, kernel.variable, ops.cast(kernel.variable, "float32") * gate)
            for caller, kernel, gate in zip(self._callers, self._kernels, gates, strict=True)
        ]

    def closed(self, logits: list[np.ndarray], sparsity: float) -> list[np.ndarray]:
        """Mark an exact fraction of the gates, the lowest; each kernel keeps a weight."""
        ranked = [values.astype(np.float64) for values in logits]
        for values in ranked:
            values.flat[np.argmax(values)] = np.inf
        flat = np.concatenate([values.ravel() for values in ranked])
        count = min(count_masked(len(flat), sparsity), len(flat) - len(ranked))
        marked = np.split(smallest(flat, count), np.cumsum([v.size for v in ranked])[:-1])
        return [part.reshape(values.shape) for part, values in zip(marked, ranked, strict=True)]

    def fold(self, gates: list[np.ndarray]) -> keras.Model:
        """Return a copy of the model with the gates multiplied into its kernels."""
        return _folded_copy(self._model, self._flow, self.swaps, gates)


def _folded_copy(model, flow, swaps, gates):
    """Return a copy of a model whose variables are those under some gates."""
    copy = rebuild(model, flow)
    counterparts = {id(a): b for a, b in zip(model.weights, copy.weights, strict=True)}
    for _, variable, values in swaps([ops.convert_to_tensor(gate) for gate in gates]):
        counterparts[id(variable)].assign(values)
    return copy


@keras.saving.register_keras_serializable(package="tfcompress")
class Gated(ModelWrapper):
    """A model whose kernels are multiplied by gates that it learns to close; see ``gated``.

    It shares the variables of the model that it wraps and adds its own: the logits of the gates,
    and the strength of the penalty on open gates.
    """

    finished_by = "fold()"

    def __init__(
        self,
        model: keras.Model,
        sparsity: float,
        groups: str = "channel",
        layers: LayerSelector = None,
        rate: float = 30.0,
        initial_strength: float = 0.1,
        gain: float = 0.05,
        seed: int = 0,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(model, name=name, **kwargs)
        self.sparsity = sparsity
        self.groups = groups
        self.rate = rate
        self.gain = gain
        settings = {"initial_strength": initial_strength, "gain": gain, "seed": seed, "rate": rate}
        self._arguments = {"sparsity": sparsity, "groups": groups, "layers": layers, **settings}
        self._noise = keras.random.SeedGenerator(seed)
        flow = read_channels(model)
        if groups == "channel":
            self._layout = ChannelGates(model, flow, selected_groups(model, flow, layers))
        else:
            self._layout = ElementGates(model, flow, prunable_kernels(model, layers))
        self._scaled = [
            self.add_weight(
                shape=shape,
                initializer=keras.initializers.Constant(hard_concrete.OPEN / rate),
                dtype="float32",
                autocast=False,
                name=f"{name}_gates",
            )
            for name, shape in self._layout.shapes.items()
        ]
        self.strength = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(initial_strength),
            dtype="float32",
            trainable=False,
            autocast=False,
            aggregation="mean",
            name="strength",
        )

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Run the model under its gates; in training, with noise and the penalty."""
        with without_autocast():
            logits = [ops.convert_to_tensor(scaled) * self.rate for scaled in self._scaled]
            if training:
                self._regularize(logits)
            swaps: dict[int, list] = {}
            layers: dict[int, keras.Layer] = {}
            for layer, variable, values in self._layout.swaps(self._gates(logits, training)):
                layers[id(layer)] = layer
                swaps.setdefault(id(layer), []).append((variable, ops.cast(values, variable.dtype)))

        def wrap(layer, call):
            def run(*args, **kwargs):
                with VariableSwap(swaps[id(layer)]):
                    return call(*args, **kwargs)

            return run

        masks = {} if mask is None else {"mask": mask}
        with intercepted_calls(layers.values(), wrap):
            return self.model(inputs, training=training, **masks)

    def _gates(self, logits, training):
        """Return the gates, in training under noise."""
        if not training:
            return [hard_concrete.without_noise(values) for values in logits]
        return [
            hard_concrete.sampled(
                values,
                keras.random.uniform(
                    values.shape, _MIN_NOISE, 1.0 - _MIN_NOISE, "float32", seed=self._noise
                ),
            )
            for values in logits
        ]

    def _regularize(self, logits):
        """Penalize open gates, and update the strength for the next step."""
        flat = ops.concatenate([ops.reshape(values, (-1,)) for values in logits])
        found = ops.mean(ops.cast(hard_concrete.without_noise(flat) == 0, "float32"))
        strength = ops.convert_to_tensor(self.strength)
        # Gates follow slowly: an immediate correction keeps them from overshooting.
        near = ops.clip(found, self.sparsity - _MAX_MISS, self.sparsity + _MAX_MISS)
        corrected = next_strength(strength, near, self.sparsity, _FAST_GAIN)
        self.add_loss(corrected * ops.mean(hard_concrete.open_probability(flat)))
        self.strength.assign(next_strength(strength, found, self.sparsity, self.gain))

    @property
    def closed(self) -> float:
        """The fraction of gates that are closed in evaluation and prediction."""
        gates = [np.asarray(hard_concrete.without_noise(v)).ravel() for v in self._logits()]
        return float(np.mean(np.concatenate(gates) == 0))

    def fold(self) -> keras.Model:
        """Return the model without gates.

        Exactly the fraction ``sparsity`` of the gates, the lowest, is closed. The others are
        multiplied into the kernels.

        Returns:
            A new model, not compiled: smaller with gates on channels, sparse with gates on
            weights. The wrapped model is not changed.
        """
        logits = self._logits()
        closed = self._layout.closed(logits, self.sparsity)
        return self._layout.fold(list(map(hard_concrete.final_gates, logits, closed)))

    def _logits(self):
        """Return the logits of the gates as arrays."""
        return [ops.convert_to_numpy(scaled) * self.rate for scaled in self._scaled]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), **self._arguments}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Create the model from its config."""
        config = dict(config)
        return cls(take_model(config), **config)


def gated(
    model: keras.Model,
    sparsity: float,
    groups: str = "channel",
    layers: LayerSelector = None,
    *,
    rate: float = 30.0,
    initial_strength: float = 0.1,
    gain: float = 0.05,
    seed: int = 0,
) -> Gated:
    """Make a model that learns which channels or weights it can do without.

    Each channel, or each weight, is multiplied by a random gate between 0 and 1 whose distribution
    is trained with the weights. A penalty on the expected fraction of open gates closes them; its
    strength rises while fewer than ``sparsity`` are closed, and falls while more are. Coupled
    channels, such as those of a residual connection, share a gate. The result is a ``keras.Model``
    with the inputs and outputs of ``model`` that *shares its variables*.

    After training, ``fold`` returns the model without gates, with exactly that fraction of channels
    removed or of weights at zero.

    Args:
        model: a built Sequential or Functional model.
        sparsity: the fraction of gates to close, in [0, 1).
        groups: "channel" or "element" (single weights).
        layers: the layers whose channels or weights are gated; see ``select_layers``. By default
            all that can be; depthwise kernels have no gates on single weights.
        rate: how much faster than the weights the gates learn.
        initial_strength: initial strength of the penalty.
        gain: how fast the strength reacts: each step, a miss of 0.1 changes it by ``gain / 10``.
            Short trainings need more than long ones.
        seed: seed of the noise.

    Returns:
        The model to compile and fit; ``fold()`` it afterwards, then fine-tune.

    Raises:
        ValueError: ``model`` is subclassed, not built or gated already; an argument is out of
            range; or a selector matches nothing, or only layers that cannot shrink.
        TypeError: ``layers`` is not a selector.

    Example:
    >>> learning = tfc.gated(model, sparsity=0.5)
    >>> learning.compile("adam", loss)
    >>> learning.fit(x, y, epochs=20)
    >>> smaller = learning.fold()

    Source: Louizos, Welling and Kingma, "Learning sparse neural networks through L0
    regularization", 2018, https://arxiv.org/abs/1712.01312.
    """
    if isinstance(model, Gated):
        raise ValueError(
            f"Model {model.name!r} has gates already: train it, or pass the model inside, "
            "`model.model`. Received: model of type Gated"
        )
    require_functional(model)
    require_built(model)
    check_sparsity("gated", "sparsity", sparsity)
    if groups not in _GROUPS:
        raise ValueError(f"`groups` must be one of {list(_GROUPS)}. Received: groups={groups!r}")
    for name, value in (("rate", rate), ("initial_strength", initial_strength), ("gain", gain)):
        if not value > 0:
            raise ValueError(f"`{name}` must be positive. Received: {name}={value!r}")
    paths = None if layers is None else [path for path, _ in select_layers(model, layers)]
    return Gated(model, sparsity, groups, paths, rate, initial_strength, gain, seed)
