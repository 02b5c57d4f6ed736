"""What the rules of the channel flow get: channels, and one call of a layer or operation."""

import copy
import dataclasses
import math
from collections.abc import Sequence
from typing import Self

import numpy as np


class Couplings:
    """The channels of a model and which of them are coupled: a union-find structure."""

    def __init__(self):
        self._parents: list[int] = []
        self._pinned: set[int] = set()

    def new(self, count: int) -> np.ndarray:
        """Return the numbers of new channels that are coupled to no other."""
        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        return np.arange(start, start + count)

    def couple(self, first: np.ndarray, second: np.ndarray) -> None:
        """Couple channels pairwise."""
        for pair in zip(first.tolist(), second.tolist(), strict=True):
            one, other = (self._root(channel) for channel in pair)
            if one != other:
                self._parents[max(one, other)] = min(one, other)

    def pin(self, channels: np.ndarray) -> None:
        """Keep channels, and all that are coupled to them now or later, from being removed."""
        self._pinned.update(channels.tolist())

    def settled(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the coupled set of each channel, named by its first channel; and what is pinned.

        Two arrays of shape (channels,), of ints and bools.
        """
        sets = np.array([self._root(i) for i in range(len(self._parents))], dtype=int)
        pinned = np.zeros(len(sets), dtype=bool)
        pinned[sets[sorted(self._pinned)]] = True
        return sets, pinned[sets]

    def _root(self, channel):
        while self._parents[channel] != channel:
            self._parents[channel] = self._parents[self._parents[channel]]
            channel = self._parents[channel]
        return channel


@dataclasses.dataclass(frozen=True)
class Channels:
    """The channels of a tensor."""

    axis: int  # the axis that indexes them, counted from the front, the batch included
    ids: np.ndarray  # int array (size of the axis,): their numbers


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A symbolic tensor: its shape, and its channels where they are known."""

    shape: tuple[int | None, ...]  # sizes, the batch included; None where unknown
    channels: Channels | None  # None for a tensor whose channels cannot be removed

    def on(self, axis: int) -> np.ndarray | None:
        """Return the numbers of the channels on an axis, or None when they are not there."""
        axis %= len(self.shape)
        if self.channels is None or self.channels.axis != axis:
            return None
        return self.channels.ids


@dataclasses.dataclass
class LayerRecord:
    """The channels of one layer, over all its calls."""

    layer: object  # the Keras layer or operation
    path: str  # its path
    # (variable, axis, channels on it); removing a channel removes its slice.
    slices: list = dataclasses.field(default_factory=list)
    # (keys of a setting in the layer's config, the channels that it counts).
    sizes: list = dataclasses.field(default_factory=list)
    made: dict = dataclasses.field(default_factory=dict)  # the channels of its outputs, by role
    # The channels of its inputs, by role, at its first call.
    read: dict = dataclasses.field(default_factory=dict)
    is_whole: bool = False  # whether a call could not be followed, so that nothing may be removed


class Call:
    """One call of a layer, for a rule: its tensors, and methods to record its channels.

    ``costs`` gets (multiplications, [channels, ...]) for each product. ``arguments`` are what an
    operation is called with, a ``Tensor`` for each symbolic one.
    """

    def __init__(
        self,
        record: LayerRecord,
        couplings: Couplings,
        costs: list,
        inputs,
        named,
        output_shapes,
        arguments=(),
    ):
        self._record = record
        self._couplings = couplings
        self._costs = costs
        self._first = not record.made and not record.read
        self._settings: tuple = ()
        self._times = 1
        self.layer = record.layer
        self.inputs: list[Tensor] = inputs
        self.named: dict[str, list[Tensor]] = named
        self.output_shapes: list[tuple] = output_shapes
        self.arguments: Sequence = arguments
        self.is_contracted = False  # whether channels of the inputs end here, in a sum over them

    def of_inner(
        self, layer, inputs: list[Tensor], output_shape: tuple, settings: tuple, times: int
    ) -> Self:
        """Return the call of a layer inside, as often for an example, with its settings' keys."""
        inner = copy.copy(self)
        inner.layer, inner.inputs, inner.output_shapes = layer, inputs, [output_shape]
        inner._settings, inner._times = settings, times
        return inner

    @property
    def output_shape(self) -> tuple:
        """The shape of the only output."""
        return self.output_shapes[0]

    def make(self, count: int, role: str = "outputs") -> np.ndarray:
        """Return the channels of the layer's output: the same at every call."""
        if role not in self._record.made:
            self._record.made[role] = self._couplings.new(count)
        if self._record.is_whole:
            self.pin(self._record.made[role])
        return self._record.made[role]

    def read(self, x: Tensor, axis: int, role: str = "inputs") -> np.ndarray | None:
        """Return the channels of an input on the axis that the layer's weights index, or None.

        The channels of all calls are coupled, as the weights are the same. Channels on another axis
        are pinned.
        """
        channels = x.on(axis)
        if channels is None and x.channels is not None:
            self.pin(x.channels.ids)
        return self.agree(channels, role)

    def agree(self, channels: np.ndarray | None, role: str) -> np.ndarray | None:
        """Couple what the layer's weights or settings index to the same of its first call."""
        if role not in self._record.read:
            self._record.read[role] = channels
        first = self._record.read[role]
        self.couple(first, channels)
        if self._record.is_whole:
            self.pin(first)
        return first

    def slice(self, variable, axis: int, channels: np.ndarray | None) -> None:
        """Record that removing a channel removes a slice of a variable."""
        if self._first and variable is not None and channels is not None:
            self._record.slices.append((variable, axis % len(variable.shape), channels))

    def size(self, channels: np.ndarray | None, *keys) -> None:
        """Record that a setting of the layer's config is the number of some channels."""
        if self._first and channels is not None:
            self._record.sizes.append(((*self._settings, *keys), channels))

    def couple(self, first: np.ndarray | None, second: np.ndarray | None) -> None:
        """Couple two lists of channels pairwise; pin one if the other is unknown."""
        if first is None or second is None:
            self.pin(first, second)
        else:
            self._couplings.couple(first, second)

    def contract(self, first: np.ndarray | None, second: np.ndarray | None) -> None:
        """Couple two lists of channels over whose products the output is summed."""
        self.is_contracted = True
        self.couple(first, second)

    def pin(self, *lists: np.ndarray | None) -> None:
        """Keep channels from being removed."""
        for channels in lists:
            if channels is not None:
                self._couplings.pin(channels)

    def pin_inputs(self) -> None:
        """Keep the channels of all inputs from being removed."""
        given = [*self.inputs, *(x for tensors in self.named.values() for x in tensors)]
        self.pin(*(x.channels.ids for x in given if x.channels is not None))

    def leave_whole(self) -> None:
        """Keep the channels of all inputs, and of the layer at its other calls."""
        self._record.is_whole = True
        self.pin_inputs()
        self.pin(*self._record.made.values(), *self._record.read.values())

    def cost(self, multiplications: float, *channels: np.ndarray | None) -> None:
        """Count a product: ``multiplications`` for each combination of the channels."""
        known = [ids for ids in channels if ids is not None]
        self._costs.append((self._times * multiplications, known))

    def output(self, axis: int, channels: np.ndarray | None) -> list[Tensor]:
        """Return the only output with channels on an axis."""
        shape = self.output_shape
        known = None if channels is None else Channels(axis % len(shape), channels)
        return [Tensor(shape, known)]


def positions(shape: tuple, *channel_axes: int) -> int:
    """Return the number of positions without the batch and some axes; unknown sizes count as 1."""
    skipped = {0, *(axis % len(shape) for axis in channel_axes)}
    return math.prod(size or 1 for axis, size in enumerate(shape) if axis not in skipped)
