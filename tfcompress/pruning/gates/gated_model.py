"""A model with learnt gates on its channels or weights."""

import keras
import numpy as np
from keras import ops

from tfcompress.compat.keras_training import without_autocast
from tfcompress.keras_graph.channels import read_channels
from tfcompress.keras_graph.channels.flow import require_functional
from tfcompress.keras_graph.interception import VariableSwap, intercepted_calls
from tfcompress.keras_graph.selection import LayerSelector, select_layers
from tfcompress.keras_graph.wrapper import ModelWrapper, require_built, take_model
from tfcompress.pruning.channels.removal import selected_groups
from tfcompress.pruning.gates import hard_concrete
from tfcompress.pruning.gates.layout import ChannelGates, ElementGates
from tfcompress.pruning.pruner import prunable_kernels
from tfcompress.pruning.regularization import next_strength
from tfcompress.pruning.schedule import check_sparsity

_GROUPS = ("channel", "element")
_LEAST_NOISE = 1e-6
_AT_ONCE, _NEAR = 12.0, 0.3  # up to a factor of exp(3.6)


@keras.saving.register_keras_serializable(package="tfcompress")
class Gated(ModelWrapper):
    """A model whose kernels are multiplied by gates that it learns to close.

    Made by ``gated``. It shares the variables of the model that it wraps and adds its own: the
    logits of the gates, and the strength of the penalty on open ones.

    Args:
        model: the user's built model.
        sparsity: the share of gates to close.
        groups: "channel" or "element".
        layers: paths of the layers that are gated; ``None`` for all.
        rate: how much faster than weights gates learn.
        initial_strength: of the penalty.
        gain: how fast the strength follows a miss.
        seed: of the noise.
        name: name of the wrapper.
    """

    finished_by = "fold()"

    def __init__(
        self,
        model,
        sparsity,
        groups="channel",
        layers=None,
        rate=30.0,
        initial_strength=0.1,
        gain=0.05,
        seed=0,
        name=None,
        **kwargs,
    ):
        super().__init__(model, name=name, **kwargs)
        self.sparsity = sparsity
        self.groups = groups
        self.rate = rate
        self.gain = gain
        self._arguments = {
            "sparsity": sparsity,
            "groups": groups,
            "layers": layers,
            "rate": rate,
            "initial_strength": initial_strength,
            "gain": gain,
            "seed": seed,
        }
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

    def call(self, inputs, training=None, mask=None):
        """Run the model under its gates; in training, under noise and with the penalty."""
        with without_autocast():
            logits = [ops.convert_to_tensor(scaled) * self.rate for scaled in self._scaled]
            if training:
                self._regulate(logits)
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
        if not training:
            return [hard_concrete.without_noise(values) for values in logits]
        return [
            hard_concrete.sampled(
                values,
                keras.random.uniform(
                    values.shape, _LEAST_NOISE, 1.0 - _LEAST_NOISE, "float32", seed=self._noise
                ),
            )
            for values in logits
        ]

    def _regulate(self, logits):
        """Penalize open gates, and correct the strength for the next step."""
        flat = ops.concatenate([ops.reshape(values, (-1,)) for values in logits])
        found = ops.mean(ops.cast(hard_concrete.without_noise(flat) == 0, "float32"))
        strength = ops.convert_to_tensor(self.strength)
        # Gates follow slowly: what answers the present miss at once keeps them from overshooting.
        near = ops.clip(found, self.sparsity - _NEAR, self.sparsity + _NEAR)
        pressing = next_strength(strength, near, self.sparsity, _AT_ONCE)
        self.add_loss(pressing * ops.mean(hard_concrete.open_probability(flat)))
        self.strength.assign(next_strength(strength, found, self.sparsity, self.gain))

    @property
    def closed(self) -> float:
        """The share of gates that are closed in evaluation and prediction."""
        gates = [np.asarray(hard_concrete.without_noise(v)).ravel() for v in self._logits()]
        return float(np.mean(np.concatenate(gates) == 0))

    def fold(self) -> keras.Model:
        """Return the model that the gates lead to.

        Exactly the share ``sparsity`` of the gates counts as closed: the lowest. The others are
        multiplied into the kernels.

        Returns:
            A new model, not compiled: with channels' gates a smaller one, with weights' gates one
            with zeros in its kernels. The wrapped model is left as it is.
        """
        logits = self._logits()
        closed = self._layout.closed(logits, self.sparsity)
        return self._layout.fold(
            [
                hard_concrete.settled(values, marked)
                for values, marked in zip(logits, closed, strict=True)
            ]
        )

    def _logits(self):
        return [ops.convert_to_numpy(scaled) * self.rate for scaled in self._scaled]

    def get_config(self):
        """Return what rebuilds the model."""
        return {**super().get_config(), **self._arguments}

    @classmethod
    def from_config(cls, config):
        """Rebuild the model from ``get_config``'s data."""
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
    """Make a model learn which channels or weights it can do without.

    Each channel, or each weight, gets a random gate between 0 and 1 whose distribution is trained
    with the weights. A penalty on the expected share of open gates closes them; a controller raises
    its strength while fewer than ``sparsity`` are closed, and lowers it while more are. Channels
    that only go together, as a residual connection ties them, share a gate. The result is a
    ``keras.Model`` with the inputs and outputs of ``model`` and *shares its variables*.

    Afterwards ``fold`` makes the model without gates: with exactly that share of channels removed,
    or of weights at zero.

    Args:
        model: a built Sequential or Functional model.
        sparsity: the share of gates to close, in [0, 1).
        groups: "channel" or "element" (single weights).
        layers: the layers whose channels or weights are gated; see ``select_layers``. All that can
            be by default; depthwise kernels have no gates on single weights.
        rate: how much faster than the weights gates learn: logits have a longer way to go.
        initial_strength: of the penalty.
        gain: how fast to react: each step a miss of 0.1 changes the strength by ``gain / 10``.
            Short trainings need more than long ones.
        seed: of the noise.

    Returns:
        The model to compile and fit; ``fold()`` it afterwards, and fine-tune for a while.

    Raises:
        ValueError: ``model`` is subclassed, not built or gated already; an argument is out of its
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
        raise ValueError(f"Model {model.name!r} has gates already.")
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
