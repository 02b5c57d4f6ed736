"""Rebuilding a model without some of its channels."""

import copy
from collections.abc import Collection, Mapping

import keras
import numpy as np

from tfcompress.compat.keras_graphs import (
    forget_nodes,
    functional_of,
    input_structure,
    output_structure,
    produced_by,
    producing_node,
)
from tfcompress.compat.keras_layers import declared_output_shape
from tfcompress.keras_graph.channels.flow import ChannelFlow, is_graph, require_functional


def rebuild(
    model: keras.Model,
    flow: ChannelFlow,
    removed: Collection[int] = (),
    replaced: Mapping[int, keras.KerasTensor] | None = None,
    remade: Mapping[int, keras.Layer] | None = None,
) -> keras.Model:
    """Build a model without some channels, with the weights of those that are left."""
    return _Builder(flow, flow.kept(removed), replaced or {}, remade or {}).model(model)


def run_graph(functional, inputs, replaced, operation_of=None, wanted=None):
    """Run a graph of layers with some of its tensors replaced by earlier ones."""
    values = {id(tensor): given for tensor, given in zip(functional.inputs, inputs, strict=True)}

    def value(tensor):
        pending = [tensor]  # a stack of our own: graphs are deeper than Python's
        while pending:
            wanted = pending[-1]
            source, node = replaced.get(id(wanted)), producing_node(wanted)
            needed = node.input_tensors if source is None else [source]
            missing = [x for x in needed if id(x) not in values]
            if id(wanted) in values or not missing:
                pending.pop()
            if id(wanted) in values:
                continue
            if missing:
                pending.extend(missing)
            elif source is not None:
                values[id(wanted)] = values[id(source)]
            else:
                args, kwargs = node.arguments.fill_in(values)
                operation = operation_of(node.operation) if operation_of else node.operation
                if type(operation) is not type(node.operation):
                    # A layer of another kind need not know arguments that say nothing.
                    kwargs = {key: given for key, given in kwargs.items() if given is not None}
                outputs = keras.tree.flatten(operation(*args, **kwargs))
                values.update(zip(map(id, node.outputs), outputs, strict=True))
        return values[id(tensor)]

    return keras.tree.map_structure(value, wanted or output_structure(functional))


class _Builder:
    def __init__(self, flow, kept, replaced, remade):
        self._flow = flow
        self._kept = kept
        self._replaced = replaced
        self._remade = remade
        self._made: dict[int, object] = dict(remade)

    def model(self, model):
        if isinstance(model, keras.Sequential):
            layers = [self._operation(layer) for layer in model.layers]
            inputs = [self._input(tensor) for tensor in functional_of(model).inputs]
            built = keras.Sequential([*inputs, *layers], name=model.name)
        else:
            functional = require_functional(model)
            inputs = [self._input(tensor) for tensor in functional.inputs]
            outputs = run_graph(functional, inputs, self._replaced, self._operation)
            structured = keras.tree.pack_sequence_as(input_structure(functional), inputs)
            built = keras.Model(structured, outputs, name=model.name)
        self._fill(model)
        built.trainable = model.trainable
        for old in model.layers:
            if id(old) in self._made:
                self._made[id(old)].trainable = old.trainable
        return built

    def _input(self, tensor):
        known = self._flow.tensors[id(tensor)].channels
        shape = list(tensor.shape)
        if known is not None:
            shape[known.axis] = self._count(known.ids)
        return keras.Input(
            batch_shape=shape,
            dtype=tensor.dtype,
            name=produced_by(tensor).operation.name,
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
            forget_nodes(twin)
            self._resize(vars(twin), operation)
            return twin
        if isinstance(operation, keras.layers.Lambda):
            return _lambda_twin(operation)
        config = _unbuilt(operation.get_config())
        self._resize(config, operation)
        return type(operation).from_config(config)

    def _resize(self, settings, operation):
        """Set what counts channels in the settings of a layer or operation."""
        for keys, ids in self._record(operation).sizes:
            _set(settings, keys, self._count(ids))

    def _fill(self, model):
        """Copy what is left of the weights, once the new layers are built."""
        for layer in model.layers:
            if is_graph(layer) or id(layer) in self._remade or id(layer) not in self._made:
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


def _lambda_twin(layer):
    """Return a layer of the same function: Keras makes no function of a config unless told to."""
    return type(layer)(
        layer.function,
        output_shape=declared_output_shape(layer),
        mask=layer.mask,
        arguments=layer.arguments,
        **keras.Layer.get_config(layer),
    )


def _unbuilt(config):
    """Leave out the shapes that layers inside a layer were built with."""
    if isinstance(config, dict):
        return {key: _unbuilt(value) for key, value in config.items() if key != "build_config"}
    return config


def _set(config, keys, value):
    """Set a nested setting; sequences on the way become lists of our own."""
    *outer, last = keys
    for key in outer:
        if isinstance(config[key], (list, tuple)):
            config[key] = list(config[key])
        config = config[key]
    config[last] = value
