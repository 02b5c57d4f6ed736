"""Reading a model: which channels there are, and which of them stay or go together."""

import dataclasses
import math
from collections.abc import Collection

import keras
import numpy as np

from tfcompress.compat.keras_graphs import functional_of, has_graph, nodes_in_order
from tfcompress.keras_graph.channels.calls import Call, Recorded, Tensor, Ties
from tfcompress.keras_graph.channels.rules import OPERATION_RULES, RULES, untracked

_MIXING_ACTIVATIONS = {"softmax", "log_softmax", "sparsemax", "glu"}


@dataclasses.dataclass(frozen=True)
class ChannelGroup:
    """Channels that are alternatives to each other: a share of them may be removed.

    Attributes:
        paths: the layers that make them, in the order of the model.
        bundles: the numbers of the bundles that they form; a bundle goes or stays as a whole.
    """

    paths: tuple[str, ...]
    bundles: tuple[int, ...]

    def __len__(self):
        return len(self.bundles)


@dataclasses.dataclass(frozen=True)
class ChannelFlow:
    """What ``read_channels`` found.

    Attributes:
        records: what belongs to which channels, for each layer.
        tensors: the channels of each symbolic tensor, by its id.
        bundle_of: int array (channels,): the bundle of each channel.
        pinned: bool array (channels,): whether it must stay.
        groups: the channels that may be removed.
        unfollowed: paths of the layers through which channels were not followed.
        costs: (multiplications, lists of channels): a product costs the number times the lengths.
    """

    records: dict[int, Recorded]
    tensors: dict[int, Tensor]
    bundle_of: np.ndarray
    pinned: np.ndarray
    groups: tuple[ChannelGroup, ...]
    unfollowed: tuple[str, ...]
    costs: tuple[tuple[float, tuple[np.ndarray, ...]], ...]

    def kept(self, removed: Collection[int] = ()) -> np.ndarray:
        """Return which channels are left.

        Args:
            removed: numbers of bundles.

        Returns:
            bool array (channels,).

        Raises:
            ValueError: a bundle is pinned.
        """
        gone = np.isin(self.bundle_of, list(removed))
        if (gone & self.pinned).any():
            raise ValueError(
                "Some of these channels reach the model's outputs or a layer that cannot shrink. "
                f"Received: removed={sorted(set(self.bundle_of[gone & self.pinned].tolist()))}"
            )
        return ~gone

    def macs(self, removed: Collection[int] = ()) -> int:
        """Return the multiply-accumulate operations of one example without some bundles."""
        kept = self.kept(removed)
        return round(
            sum(
                factor * math.prod(int(np.count_nonzero(kept[ids])) for ids in lists)
                for factor, lists in self.costs
            )
        )

    def parameters(self, removed: Collection[int] = ()) -> int:
        """Return the number of weights without some bundles, trainable or not."""
        kept, sizes = self.kept(removed), {}
        for record in self.records.values():
            for variable in getattr(record.layer, "weights", ()):
                sizes.setdefault(id(variable), list(variable.shape))
            for variable, axis, ids in record.slices:
                sizes[id(variable)][axis] = int(np.count_nonzero(kept[ids]))
        return sum(math.prod(shape) for shape in sizes.values())

    def where_lost(self) -> str:
        """Return a sentence, and a space, on the layers through which channels were not followed.

        An empty text where there are none.
        """
        if not self.unfollowed:
            return ""
        kinds = {record.path: type(record.layer).__name__ for record in self.records.values()}
        named = [f"{path!r} ({kinds.get(path, 'unknown')})" for path in self.unfollowed]
        return f"Channels could not be followed through {', '.join(named)}. "


def read_channels(model: keras.Model) -> ChannelFlow:
    """Follow the channels of a model from the layers that make them to those that mix them.

    Args:
        model: a built Functional or Sequential model; nested ones inside are followed too.

    Returns:
        What must shrink together.

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
            reader.ties.pin(channels.ids)
    return reader.result()


def require_functional(model: keras.Model):
    """Return the graph of layers that a model is.

    Args:
        model: a keras.Model.

    Returns:
        The Functional model that a Functional or Sequential model is or holds.

    Raises:
        ValueError: there is none.
    """
    if isinstance(model, keras.Sequential):
        if functional_of(model) is None:
            raise ValueError(
                f"Model {model.name!r} has no declared input. Start it with `keras.Input(shape)`."
            )
        return functional_of(model)
    if has_graph(model):
        return model
    raise ValueError(
        f"Model {model.name!r} is a subclassed model, whose `call` says how its layers are joined: "
        "no smaller model can be made of it by itself. Build it from its layers as a Functional "
        "model: `keras.Model(inputs, outputs)`, or compress the Functional models inside one by "
        f"one. Received: model of type {type(model).__name__}"
    )


def is_graph(layer) -> bool:
    """Tell whether a layer is itself a graph of layers."""
    return has_graph(functional_of(layer))


class _Reader:
    def __init__(self):
        self.ties = Ties()
        self.records: dict[int, Recorded] = {}
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
                if _symbolic(value)
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
        """Tie what enters a shared model to what entered it first."""
        both = before.channels, now.channels
        if None not in both and both[0].axis == both[1].axis:
            self.ties.tie(both[0].ids, both[1].ids)
            return
        for channels in both:
            if channels is not None:
                self.ties.pin(channels.ids)

    def _call(self, operation, path, node, inputs, named):
        record = self.records.setdefault(id(operation), Recorded(operation, path))
        shapes = [tuple(tensor.shape) for tensor in node.outputs]
        call = Call(record, self.ties, self.costs, inputs, named, shapes)
        outputs = _rule(operation, node)(call)
        if any(x.channels is not None for x in inputs) and outputs[0].channels is None:
            self.unfollowed[path] = None
        activation = getattr(operation, "activation", None)
        if getattr(activation, "__name__", None) in _MIXING_ACTIVATIONS:
            call.pin(*(x.on(-1) for x in outputs))
        return outputs

    def result(self):
        bundle_of, pinned = self.ties.settled()
        groups = _group(self.records.values(), bundle_of, pinned)
        costs = tuple((factor, tuple(lists)) for factor, lists in self.costs)
        return ChannelFlow(
            self.records, self.tensors, bundle_of, pinned, groups, tuple(self.unfollowed), costs
        )


def _rule(operation, node):
    if isinstance(operation, keras.Layer):
        return RULES.get(type(operation), untracked)
    if any(np.ndim(value) > 0 for value in _constants(node)):
        return untracked  # one number for each channel, written in the graph
    return OPERATION_RULES.get(type(operation).__name__, untracked)


def _symbolic(arguments):
    return [x for x in keras.tree.flatten(arguments) if keras.backend.is_keras_tensor(x)]


def _constants(node):
    flat = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    return [
        value
        for value in flat
        if not keras.backend.is_keras_tensor(value) and not isinstance(value, (str, type(None)))
    ]


def _group(records, bundle_of, pinned):
    """Join the bundles of every list of channels that one layer makes."""
    parents = {bundle: bundle for bundle in bundle_of[~pinned].tolist()}

    def root(bundle):
        while parents[bundle] != bundle:
            parents[bundle] = parents[parents[bundle]]
            bundle = parents[bundle]
        return bundle

    makers: dict[int, list[str]] = {}
    for record in records:
        for made in record.made.values():
            free = sorted({bundle for bundle in bundle_of[made].tolist() if bundle in parents})
            for bundle in free:
                parents[root(bundle)] = root(free[0])
            for bundle in free[:1]:
                makers.setdefault(bundle, []).append(record.path)
    members: dict[int, list[int]] = {}
    for bundle in sorted(parents):
        members.setdefault(root(bundle), []).append(bundle)
    paths: dict[int, list[str]] = {}
    for bundle, found in makers.items():
        paths.setdefault(root(bundle), []).extend(found)
    return tuple(
        ChannelGroup(tuple(dict.fromkeys(paths[group])), tuple(bundles))
        for group, bundles in members.items()
    )
