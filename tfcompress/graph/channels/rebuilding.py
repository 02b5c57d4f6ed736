"""A smaller model from a model and the channels that it can do without."""

import copy
from collections.abc import Collection

import keras
import numpy as np

from tfcompress.graph.channels.flow import ChannelFlow, is_graph, require_functional


def rebuild(model: keras.Model, flow: ChannelFlow, removed: Collection[int] = ()) -> keras.Model:
    """Build a model without some channels, with the weights of those that are left.

    Args:
        model: the model that ``flow`` was read from.
        flow: what ``read_channels`` found.
        removed: numbers of bundles that go.

    Returns:
        A new model of the same kind with the same inputs and outputs, the same layer names, and
        weights of its own; not compiled.

    Raises:
        ValueError: a bundle is pinned.

    Example:
    >>> flow = read_channels(model)
    >>> smaller = rebuild(model, flow, removed=flow.groups[0].bundles[:4])
    """
    return _Builder(flow, flow.kept(removed)).model(model)


class _Builder:
    def __init__(self, flow, kept):
        self._flow = flow
        self._kept = kept
        self._made: dict[int, object] = {}

    def model(self, model):
        if isinstance(model, keras.Sequential):
            layers = [self._operation(layer) for layer in model.layers]
            inputs = [self._input(tensor) for tensor in model._functional.inputs]
            built = keras.Sequential([*inputs, *layers], name=model.name)
        else:
            functional = require_functional(model)
            inputs = [self._input(tensor) for tensor in functional.inputs]
            outputs = functional._run_through_graph(inputs, operation_fn=self._operation)
            structured = keras.tree.pack_sequence_as(functional._inputs_struct, inputs)
            built = keras.Model(structured, outputs, name=model.name)
        self._fill(model)
        built.trainable = model.trainable
        for old, new in zip(model.layers, built.layers, strict=True):
            new.trainable = old.trainable
        return built

    def _input(self, tensor):
        known = self._flow.tensors[id(tensor)].channels
        shape = list(tensor.shape)
        if known is not None:
            shape[known.axis] = self._count(known.ids)
        return keras.Input(
            batch_shape=shape,
            dtype=tensor.dtype,
            name=tensor._keras_history.operation.name,
            sparse=tensor.sparse,
        )

    def _operation(self, operation):
        """Return the layer or operation that takes the place of one."""
        if id(operation) not in self._made:
            self._made[id(operation)] = self._remake(operation)
        return self._made[id(operation)]

    def _remake(self, operation):
        if is_graph(operation):
            return self.model(operation)
        if not isinstance(operation, keras.Layer):
            # Nodes are noted in the operation: the model's own must not get ours.
            twin = copy.copy(operation)
            twin._inbound_nodes, twin._outbound_nodes = [], []
            return twin
        config = _unbuilt(operation.get_config())
        for keys, ids in self._record(operation).sizes:
            _set(config, keys, self._count(ids))
        return type(operation).from_config(config)

    def _fill(self, model):
        """Copy what is left of the weights, once the new layers are built."""
        for layer in model.layers:
            if is_graph(layer) or isinstance(layer, keras.layers.InputLayer):
                continue
            slices = self._record(layer).slices
            values = []
            for variable in layer.weights:
                value = keras.ops.convert_to_numpy(variable)
                for sliced, axis, ids in slices:
                    if sliced is variable:
                        value = np.compress(self._kept[ids], value, axis=axis)
                values.append(value)
            if values:
                self._made[id(layer)].set_weights(values)

    def _record(self, layer):
        return self._flow.records[id(layer)]

    def _count(self, ids):
        return int(np.count_nonzero(self._kept[ids]))


def _unbuilt(config):
    """Leave out the shapes that layers inside a layer were built with."""
    if isinstance(config, dict):
        return {key: _unbuilt(value) for key, value in config.items() if key != "build_config"}
    return config


def _set(config, keys, value):
    """Set a nested setting; tuples on the way become lists."""
    *outer, last = keys
    for key in outer:
        if isinstance(config[key], tuple):
            config[key] = list(config[key])
        config = config[key]
    config[last] = value
