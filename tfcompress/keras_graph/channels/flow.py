"""The channels of a model: which are coupled, and which can be removed."""

import collections
import dataclasses
import math
from collections.abc import Collection

import keras
import numpy as np

from tfcompress.compat.keras_graphs import functional_of, has_graph, nodes_in_order
from tfcompress.keras_graph.channels.calls import Call, Couplings, LayerRecord, Tensor
from tfcompress.keras_graph.channels.operations import OPERATION_RULES, TAKE_ARRAYS
from tfcompress.keras_graph.channels.rules import RULES, untracked

_MIXING_ACTIVATIONS = {"softmax", "log_softmax", "sparsemax", "glu"}


@dataclasses.dataclass(frozen=True)
class ChannelGroup:
    """Channels of which a share may be removed."""

    paths: tuple[str, ...]  # the layers that output them, in the order of the model
    coupled_sets: tuple[int, ...]  # their coupled sets, each of which is removed or kept as a whole

    def __len__(self):
        return len(self.coupled_sets)


@dataclasses.dataclass(frozen=True)
class ChannelFlow:
    """The channels of a model, see ``read_channels``."""

    records: dict[int, LayerRecord]  # what belongs to which channels, for each layer
    tensors: dict[int, Tensor]  # the channels of each symbolic tensor, by its id
    coupled_set_of: np.ndarray  # int array (channels,): the coupled set of each channel
    pinned: np.ndarray  # bool array (channels,): whether it must stay
    groups: tuple[ChannelGroup, ...]  # the channels that may be removed
    unfollowed: tuple[str, ...]  # paths of the layers through which channels could not be followed
    # (multiplications, lists of channels): a product costs their number times the lengths.
    costs: tuple[tuple[float, tuple[np.ndarray, ...]], ...]

    def kept(self, removed: Collection[int] = ()) -> np.ndarray:
        """Return which channels are left without some coupled sets: bool array (channels,)."""
        gone = np.isin(self.coupled_set_of, list(removed))
        if (gone & self.pinned).any():
            raise ValueError(
                "Some of these channels reach the model's outputs, or a layer that cannot shrink. "
                f"Received: removed={sorted(set(self.coupled_set_of[gone & self.pinned].tolist()))}"
            )
        return ~gone

    def macs(self, removed: Collection[int] = ()) -> int:
        """Return the multiply-accumulate operations of one example without some coupled sets."""
        kept = self.kept(removed)
        products = (
            factor * math.prod(int(np.count_nonzero(kept[ids])) for ids in lists)
            for factor, lists in self.costs
        )
        return round(sum(products))

    def parameters(self, removed: Collection[int] = ()) -> int:
        """Return the number of weights without some coupled sets, trainable or not."""
        kept, sizes = self.kept(removed), {}
        for record in self.records.values():
            for variable in getattr(record.layer, "weights", ()):
                sizes.setdefault(id(variable), list(variable.shape))
            for variable, axis, ids in record.slices:
                sizes[id(variable)][axis] = int(np.count_nonzero(kept[ids]))
        return sum(math.prod(shape) for shape in sizes.values())

    def describe_unfollowed(self) -> str:
        """Return a sentence and a space on the unfollowed layers, for errors; "" without any."""
        if not self.unfollowed:
            return ""
        kinds = {record.path: type(record.layer).__name__ for record in self.records.values()}
        named = [f"{path!r} ({kinds.get(path, 'unknown')})" for path in self.unfollowed]
        return f"Channels could not be followed through {', '.join(named)}. "


def read_channels(model: keras.Model) -> ChannelFlow:
    """Follow the channels of a model from the layers that output them to those that mix them.

    Args:
        model: a built Functional or Sequential model; nested ones inside are followed too.

    Returns:
        The channels, their coupled sets, and the groups from which they can be removed.

    Raises:
        ValueError: ``model`` is not built, or is a subclassed model.

    Example:
    >>> flow = read_channels(model)
    >>> [(group.paths, len(group)) for group in flow.groups]
    """
    reader = _Reader()
    functional = require_functional(model)
    for tensor in functional.inputs:
        reader.tensors[id(tensor)] = Tensor(tuple(tensor.shape), None)
    reader.run(functional, "")
    for tensor in functional.outputs:
        channels = reader.tensors[id(tensor)].channels
        if channels is not None:
            reader.couplings.pin(channels.ids)
    return reader.result()


def require_functional(model: keras.Model):
    """Return the Functional model that a Functional or Sequential model is or holds."""
    if isinstance(model, keras.Sequential):
        if functional_of(model) is None:
            raise ValueError(
                f"Model {model.name!r} has no declared input. Start it with `keras.Input(shape)`."
            )
        return functional_of(model)
    if has_graph(model):
        return model
    raise ValueError(
        f"Model {model.name!r} is a subclassed model: the connections of its layers are not known, "
        "so that it cannot be rebuilt. Build it from its layers as a Functional "
        "model: `keras.Model(inputs, outputs)`, or compress the Functional models inside one by "
        f"one. Received: model of type {type(model).__name__}"
    )


def is_graph(layer) -> bool:
    """Return whether a layer is itself a graph of layers."""
    return has_graph(functional_of(layer))


class _Reader:
    def __init__(self):
        self.couplings = Couplings()
        self.records: dict[int, LayerRecord] = {}
        self.tensors: dict[int, Tensor] = {}
        self.unfollowed: dict[str, None] = {}
        self.costs: list = []

    def run(self, functional, prefix):
        for node in nodes_in_order(functional):
            operation = node.operation
            path = prefix + operation.name
            inputs = [self.tensors[id(x)] for x in _symbolic(node.arguments.args)]
            named = {
                key: [self.tensors[id(x)] for x in _symbolic(value)]
                for key, value in node.arguments.kwargs.items()
                if _symbolic(value) and not (key == "mask" and is_graph(operation))
            }
            if is_graph(operation):
                outputs = self._nested(require_functional(operation), path, inputs, named)
            else:
                outputs = self._call(operation, path, node, inputs, named)
            for tensor, known in zip(node.outputs, outputs, strict=True):
                self.tensors[id(tensor)] = known

    def _nested(self, functional, path, inputs, named):
        flat = [*inputs, *(x for tensors in named.values() for x in tensors)]
        for tensor, now in zip(functional.inputs, flat, strict=True):
            before = self.tensors.get(id(tensor))
            if before is not None:
                self._agree(before, now)
            self.tensors[id(tensor)] = now
        self.run(functional, path + "/")
        return [self.tensors[id(tensor)] for tensor in functional.outputs]

    def _agree(self, before, now):
        """Couple the inputs of a shared model to those of its first call."""
        both = before.channels, now.channels
        if None not in both and both[0].axis == both[1].axis:
            self.couplings.couple(both[0].ids, both[1].ids)
            return
        for channels in both:
            if channels is not None:
                self.couplings.pin(channels.ids)

    def _call(self, operation, path, node, inputs, named):
        record = self.records.setdefault(id(operation), LayerRecord(operation, path))
        shapes = [tuple(tensor.shape) for tensor in node.outputs]
        arguments = [
            self.tensors[id(x)] if keras.backend.is_keras_tensor(x) else x
            for x in node.arguments.args
        ]
        call = Call(record, self.couplings, self.costs, inputs, named, shapes, arguments)
        outputs = _rule(operation, node)(call)
        lost = outputs[0].channels is None and not call.is_contracted
        if lost and any(x.channels is not None for x in inputs):
            self.unfollowed[path] = None
        for layer in (operation, getattr(operation, "layer", None)):  # in TimeDistributed
            activation = getattr(layer, "activation", None)
            if getattr(activation, "__name__", None) in _MIXING_ACTIVATIONS:
                call.pin(*(x.on(-1) for x in outputs))
        return outputs

    def result(self):
        coupled_set_of, pinned = self.couplings.settled()
        groups = _group(self.records.values(), coupled_set_of, pinned)
        costs = tuple((factor, tuple(lists)) for factor, lists in self.costs)
        settled = coupled_set_of, pinned, groups, tuple(self.unfollowed), costs
        return ChannelFlow(self.records, self.tensors, *settled)


def _rule(operation, node):
    if isinstance(operation, keras.Layer):
        return RULES.get(type(operation), untracked)
    name = type(operation).__name__
    for value in keras.tree.flatten((node.arguments.args, node.arguments.kwargs)):
        is_array = not keras.backend.is_keras_tensor(value) and np.ndim(value) > 0
        if is_array and name not in TAKE_ARRAYS:
            return untracked  # one number for each channel, written in the graph
    return OPERATION_RULES.get(name, untracked)


def _symbolic(arguments):
    return [x for x in keras.tree.flatten(arguments) if keras.backend.is_keras_tensor(x)]


def _group(records, coupled_set_of, pinned):
    """Group the coupled sets of all channels that one layer outputs."""
    free = set(coupled_set_of[~pinned].tolist())
    together, makers = Couplings(), []
    together.new(len(coupled_set_of))
    for record in records:
        for made in record.made.values():
            made_sets = np.array(sorted(free.intersection(coupled_set_of[made].tolist())), int)
            together.couple(made_sets[:-1], made_sets[1:])
            makers += [(one, record.path) for one in made_sets[:1].tolist()]
    group_of, _ = together.settled()
    members, paths = collections.defaultdict(list), collections.defaultdict(list)
    for one in sorted(free):
        members[group_of[one]].append(one)
    for one, path in makers:
        paths[group_of[one]].append(path)
    return tuple(
        ChannelGroup(tuple(dict.fromkeys(paths[group])), tuple(coupled_sets))
        for group, coupled_sets in members.items()
    )
