"""Layers over sequences: attention and recurrent cells."""

import numpy as np
from keras import layers as kl

from tfcompress.compat.keras_layers import stored_kernel
from tfcompress.graph.channels.calls import Call, Channels, Tensor, positions
from tfcompress.graph.channels.rules.passing import untracked

RECURRENT = (kl.LSTM, kl.GRU, kl.SimpleRNN)


def multi_head_attention(call: Call) -> list[Tensor]:
    """Attend: what enters is mixed, heads go as a whole, what leaves is new."""
    layer = call.layer
    given = {name: tensors[0] for name, tensors in call.named.items()}
    given |= dict(zip(("query", "value", "key"), call.inputs, strict=False))
    given.setdefault("key", given["value"])
    ids = {role: call.read(given[role], -1, role) for role in ("query", "value", "key")}
    heads = call.make(layer.num_heads, "heads")
    made = call.make(call.output_shape[-1])
    tokens, keys = positions(given["query"].shape, -1), positions(given["value"].shape, -1)
    for role, projection, count, size in (
        ("query", layer.query_dense, tokens, layer.key_dim),
        ("key", layer.key_dense, keys, layer.key_dim),
        ("value", layer.value_dense, keys, layer.value_dim),
    ):
        call.slice(stored_kernel(projection), 0, ids[role])
        call.slice(stored_kernel(projection), 1, heads)
        call.slice(projection.bias, 0, heads)
        width = 1 if ids[role] is not None else stored_kernel(projection).shape[0]
        call.cost(count * size * width, ids[role], heads)
    call.cost(tokens * keys * (layer.key_dim + layer.value_dim), heads)
    output = layer.output_dense
    call.slice(stored_kernel(output), 0, heads)
    call.slice(stored_kernel(output), -1, made)
    call.slice(output.bias, 0, made)
    call.cost(tokens * layer.value_dim, heads, made)
    call.size(heads, "num_heads")
    call.size(made, "output_shape")
    return [
        Tensor(shape, Channels(len(shape) - 1, made) if index == 0 else None)
        for index, shape in enumerate(call.output_shapes)
    ]


def recurrent(call: Call) -> list[Tensor]:
    """Run a cell over time: its state is what it makes, and what it reads back."""
    layer = call.layer
    x, *states = [*call.inputs, *call.named.get("initial_state", [])]
    ids = call.read(x, -1)
    made = call.make(layer.units)
    for state in states:
        call.tie(made, state.on(-1))
    _slice_cell(call, layer.cell, ids, made)
    call.size(made, "units")
    _recurrent_cost(call, layer.cell, x, ids, made)
    return [Tensor(shape, Channels(len(shape) - 1, made)) for shape in call.output_shapes]


def _slice_cell(call, cell, ids, made):
    gates = cell.kernel.shape[1] // cell.units
    gated = np.tile(made, gates)
    call.slice(cell.kernel, 0, ids)
    call.slice(cell.kernel, 1, gated)
    call.slice(cell.recurrent_kernel, 0, made)
    call.slice(cell.recurrent_kernel, 1, gated)
    call.slice(cell.bias, -1, gated)


def _recurrent_cost(call, cell, x, ids, made):
    steps = (x.shape[1] or 1) * (cell.kernel.shape[1] // cell.units)
    call.cost(steps * (1 if ids is not None else cell.kernel.shape[0]), ids, made)
    call.cost(steps, made, made)


def bidirectional(call: Call) -> list[Tensor]:
    """Run two cells that are made from one config: their units go in pairs."""
    layer = call.layer
    forward, backward = layer.forward_layer, layer.backward_layer
    simple = isinstance(forward, RECURRENT) and type(forward) is type(backward)
    if not simple or forward.units != backward.units or len(call.inputs) > 1 or call.named:
        return untracked(call)
    (x,) = call.inputs
    ids = call.read(x, -1)
    made = call.make(forward.units)
    for direction, key in ((forward, "layer"), (backward, "backward_layer")):
        _slice_cell(call, direction.cell, ids, made)
        _recurrent_cost(call, direction.cell, x, ids, made)
        call.size(made, key, "config", "units")
    if layer.merge_mode is None or len(call.output_shapes) > 1:
        return [Tensor(shape, Channels(len(shape) - 1, made)) for shape in call.output_shapes]
    return call.output(-1, np.tile(made, 2) if layer.merge_mode == "concat" else made)
