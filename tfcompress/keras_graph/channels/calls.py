"""One call of a layer or operation, as the rules of the channel flow see it."""

import dataclasses
import math

import numpy as np


class Ties:
    """Numbers every channel that some layer makes, and ties those that only go together."""

    def __init__(self):
        self._parents: list[int] = []
        self._pinned: set[int] = set()

    def new(self, count: int) -> np.ndarray:
        """Return the numbers of ``count`` channels that are free so far."""
        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        return np.arange(start, start + count)

    def tie(self, first: np.ndarray, second: np.ndarray) -> None:
        """Tie channels pairwise.

        Args:
            first: int array (n,), numbers of channels.
            second: int array (n,).
        """
        for pair in zip(first.tolist(), second.tolist(), strict=True):
            one, other = (self._root(channel) for channel in pair)
            if one != other:
                self._parents[max(one, other)] = min(one, other)

    def pin(self, channels: np.ndarray) -> None:
        """Keep channels, and whatever is tied to them now or later, from being removed."""
        self._pinned.update(channels.tolist())

    def settled(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what was tied, once all is read.

        Returns:
            int array (channels,): the bundle that each channel belongs to, as the number of its
            first channel; and bool array (channels,): whether the channel is pinned.
        """
        bundles = np.array([self._root(i) for i in range(len(self._parents))], dtype=int)
        pinned = np.zeros(len(bundles), dtype=bool)
        pinned[bundles[sorted(self._pinned)]] = True
        return bundles, pinned[bundles]

    def _root(self, channel):
        while self._parents[channel] != channel:
            self._parents[channel] = self._parents[self._parents[channel]]
            channel = self._parents[channel]
        return channel


@dataclasses.dataclass(frozen=True)
class Channels:
    """The channels of a tensor.

    Attributes:
        axis: the axis that indexes them, counted from the front, the batch included.
        ids: int array (size of the axis,): their numbers.
    """

    axis: int
    ids: np.ndarray


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A symbolic tensor: its shape, and its channels where they are known.

    Attributes:
        shape: sizes, the batch included; None where unknown.
        channels: None for a tensor whose channels cannot be removed.
    """

    shape: tuple[int | None, ...]
    channels: Channels | None

    def on(self, axis: int) -> np.ndarray | None:
        """Return the numbers of the channels on an axis, or None when they are not there."""
        axis %= len(self.shape)
        if self.channels is None or self.channels.axis != axis:
            return None
        return self.channels.ids


@dataclasses.dataclass
class Recorded:
    """What one layer's rule said about it, over all its calls.

    Attributes:
        layer: the Keras layer or operation.
        path: the user's name for it.
        slices: (variable, axis, channels on it); a channel removed takes its slice along.
        sizes: (keys that lead to a setting in the layer's config, the channels that it counts).
        made: channels that the layer makes, by role.
        read: channels that it reads, by role, as they were at its first call.
    """

    layer: object
    path: str
    slices: list = dataclasses.field(default_factory=list)
    sizes: list = dataclasses.field(default_factory=list)
    made: dict = dataclasses.field(default_factory=dict)
    read: dict = dataclasses.field(default_factory=dict)


class Call:
    """What a rule is given: the tensors of one call, and where it writes what it knows.

    Args:
        recorded: the layer's record; shared by all its calls.
        ties: the ties of the model.
        costs: list that takes (multiplications, [channels, ...]) for each product.
        inputs: the tensors that are read, given by position.
        named: those given by keyword, a list for each.
        output_shapes: the shapes of the tensors that are made.
    """

    def __init__(self, recorded: Recorded, ties: Ties, costs: list, inputs, named, output_shapes):
        self._recorded = recorded
        self._ties = ties
        self._costs = costs
        self._first = not recorded.made and not recorded.read
        self.layer = recorded.layer
        self.inputs: list[Tensor] = inputs
        self.named: dict[str, list[Tensor]] = named
        self.output_shapes: list[tuple] = output_shapes

    @property
    def output_shape(self) -> tuple:
        """The shape of the only output."""
        return self.output_shapes[0]

    def make(self, count: int, role: str = "outputs") -> np.ndarray:
        """Return the channels that the layer makes: the same ones at every call."""
        if role not in self._recorded.made:
            self._recorded.made[role] = self._ties.new(count)
        return self._recorded.made[role]

    def read(self, x: Tensor, axis: int, role: str = "inputs") -> np.ndarray | None:
        """Return the channels of a tensor that meet the layer's weights, or None.

        The weights have the same slices at every call, so the channels of all calls are tied.
        Channels on another axis than the one that the weights index stay whole.
        """
        channels = x.on(axis)
        if channels is None and x.channels is not None:
            self.pin(x.channels.ids)
        if role not in self._recorded.read:
            self._recorded.read[role] = channels
            return channels
        first = self._recorded.read[role]
        self.tie(first, channels)
        return first

    def slice(self, variable, axis: int, channels: np.ndarray | None) -> None:
        """Say that a channel removed takes a slice of a variable along."""
        if self._first and variable is not None and channels is not None:
            self._recorded.slices.append((variable, axis % len(variable.shape), channels))

    def size(self, channels: np.ndarray | None, *keys) -> None:
        """Say that a setting of the layer's config is the number of some channels."""
        if self._first and channels is not None:
            self._recorded.sizes.append((keys, channels))

    def tie(self, first: np.ndarray | None, second: np.ndarray | None) -> None:
        """Tie two lists of channels pairwise; pin the one where the other is not known."""
        if first is None or second is None:
            self.pin(first, second)
        else:
            self._ties.tie(first, second)

    def pin(self, *lists: np.ndarray | None) -> None:
        """Keep channels from being removed."""
        for channels in lists:
            if channels is not None:
                self._ties.pin(channels)

    def pin_inputs(self) -> None:
        """Keep all that is read from being removed."""
        given = [*self.inputs, *(x for tensors in self.named.values() for x in tensors)]
        self.pin(*(x.channels.ids for x in given if x.channels is not None))

    def cost(self, multiplications: float, *channels: np.ndarray | None) -> None:
        """Count a product: ``multiplications`` for each combination of the channels."""
        self._costs.append((multiplications, [ids for ids in channels if ids is not None]))

    def output(self, axis: int, channels: np.ndarray | None) -> list[Tensor]:
        """Return the only output with channels on an axis."""
        shape = self.output_shape
        known = None if channels is None else Channels(axis % len(shape), channels)
        return [Tensor(shape, known)]


def positions(shape: tuple, *channel_axes: int) -> int:
    """Return how many positions a tensor has besides the batch and some axes; unknown count 1."""
    skipped = {0, *(axis % len(shape) for axis in channel_axes)}
    return math.prod(size or 1 for axis, size in enumerate(shape) if axis not in skipped)
