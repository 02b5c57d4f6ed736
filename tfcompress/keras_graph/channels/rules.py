"""What each kind of layer does to channels: one function per kind; see ``operations``, too.

A rule gets a call and returns the tensors of its outputs. It records which slices of the layer's
variables and which settings belong to which channels, and couples channels. A layer without a rule
is reported, and the channels of its inputs are pinned.
"""

import math

import numpy as np
from keras import layers as kl

from tfcompress.compat.keras_layers import grouped_projections, stored_embeddings, stored_kernel
from tfcompress.keras_graph.channels.calls import Call, Channels, Tensor, positions

RECURRENT = (kl.LSTM, kl.GRU, kl.SimpleRNN)
_TIME = 1  # the axis


def untracked(call: Call) -> list[Tensor]:
    """Keep all that is read; nothing that is made can be removed."""
    call.leave_whole()
    return [Tensor(shape, None) for shape in call.output_shapes]


def elementwise(call: Call) -> list[Tensor]:
    """Make each channel of the output from the same channel of the input."""
    (x,) = call.inputs
    if x.channels is None or len(x.shape) != len(call.output_shape):
        return untracked(call)
    return call.output(x.channels.axis, x.channels.ids)


def normalized(call: Call) -> list[Tensor]:
    """Normalize over axes: what is removed there would change all that is left."""
    (x,) = call.inputs
    axes = np.atleast_1d(getattr(call.layer, "axis", -1))
    return untracked(call) if any(x.on(axis) is not None for axis in axes) else elementwise(call)


def broadcast(call: Call) -> list[Tensor]:
    """Combine tensors element by element, with broadcasting."""
    rank = len(call.output_shape)
    known = [
        (x, x.channels.axis + rank - len(x.shape)) for x in call.inputs if x.channels is not None
    ]
    if not known:
        return untracked(call)
    axis = max(known, key=lambda item: len(item[0].channels.ids))[1]
    joined = None
    for x in call.inputs:
        own = axis - rank + len(x.shape)
        if own < 0 or x.shape[own] == 1:  # the same number for every channel
            call.pin(None if x.channels is None else x.channels.ids)
            continue
        channels = x.on(own)
        if channels is None:
            call.pin(None if x.channels is None else x.channels.ids)
        if joined is not None or channels is None:
            call.couple(joined, channels)
        joined = channels if joined is None else joined
    whole = [x for x in call.inputs if x.channels is None and x.shape[axis - rank :][:1] != (1,)]
    if any(axis - rank + len(x.shape) >= 0 for x in whole):
        call.pin(joined)
    return call.output(axis, joined)


def concatenated(call: Call) -> list[Tensor]:
    """Join tensors along an axis."""
    rank = len(call.output_shape)
    axis = call.layer.axis % rank
    known = [x.channels.axis for x in call.inputs if x.channels is not None]
    if not known or any(other != known[0] for other in known):
        return untracked(call)
    if known[0] != axis:
        return broadcast(call)
    # What is not known takes part as channels that stay.
    parts = []
    for number, x in enumerate(call.inputs):
        ids = x.on(axis)
        if ids is None:
            ids = call.make(x.shape[axis], f"unknown {number}")
            call.pin(ids)
        parts.append(ids)
    return call.output(axis, np.concatenate(parts))


def reshaped(call: Call) -> list[Tensor]:
    """Flatten, reshape or permute: follow every element to where it goes."""
    (x,) = call.inputs
    shape, wanted = x.shape[1:], call.output_shape[1:]
    known = x.channels is not None and x.channels.axis > 0 and None not in (*shape, *wanted)
    if not known or math.prod(shape) != math.prod(wanted):
        return untracked(call)
    axis = x.channels.axis - 1
    ids = x.channels.ids.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    elements = np.broadcast_to(ids, shape)
    if isinstance(call.layer, kl.Permute):
        elements = elements.transpose([dim - 1 for dim in call.layer.dims])
    else:
        elements = elements.reshape(wanted)
    axis, line = _indexed_by(elements)
    if line is None:
        return untracked(call)
    for key, skipped in (("target_shape", 0), ("newshape", 1)):  # of a layer, of an operation
        for target, size in enumerate(getattr(call.layer, key, ())[skipped:]):
            if size != -1:
                channels = call.agree(line if target == axis else None, f"axis {target}")
                call.size(channels, key, target + skipped)
    return call.output(axis + 1, line)


def _indexed_by(elements: np.ndarray) -> tuple[int, np.ndarray | None]:
    """Return the axis that alone tells elements' channels, and those along it; None without one."""
    for axis in range(elements.ndim):
        line = elements[tuple(slice(None) if i == axis else 0 for i in range(elements.ndim))]
        if (np.moveaxis(elements, axis, -1) == line).all():
            return axis, line
    return 0, None


def channel_axis(layer, shape: tuple) -> int:
    """Return the axis of the channels, by the layer's data format."""
    return len(shape) - 1 if getattr(layer, "data_format", None) != "channels_first" else 1


def globally_pooled(call: Call) -> list[Tensor]:
    """Reduce each channel over its positions."""
    (x,) = call.inputs
    axis = channel_axis(call.layer, x.shape)
    ids = x.on(axis)
    if ids is None:
        return untracked(call)
    return call.output(axis if call.layer.keepdims else 1, ids)


def spatial(call: Call) -> list[Tensor]:
    """Pool, pad, crop or resize positions and leave channels alone."""
    (x,) = call.inputs
    axis = channel_axis(call.layer, x.shape)
    return untracked(call) if x.on(axis) is None else elementwise(call)


def batch_normalization(call: Call) -> list[Tensor]:
    """Scale and shift each channel by itself."""
    layer, (x,) = call.layer, call.inputs
    ids = call.read(x, layer.axis)
    if ids is None:
        return untracked(call)
    for variable in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance):
        call.slice(variable, 0, ids)
    return elementwise(call)


def group_normalization(call: Call) -> list[Tensor]:
    """Normalize groups of channels: each stays or goes as a whole."""
    layer, (x,) = call.layer, call.inputs
    ids = call.read(x, layer.axis)
    if ids is None:
        return untracked(call)
    groups = ids.reshape(layer.groups, -1)
    for other in groups.T[1:]:
        call.couple(groups[:, 0], other)
    for variable in (layer.gamma, layer.beta):
        call.slice(variable, 0, ids)
    call.size(groups[:, 0], "groups")
    return elementwise(call)


def prelu(call: Call) -> list[Tensor]:
    """Apply PReLU, whose slopes may be one per channel."""
    (x,), alpha = call.inputs, call.layer.alpha
    for axis, size in enumerate(alpha.shape):
        if size != 1:
            call.slice(alpha, axis, call.agree(x.on(axis + 1), f"axis {axis}"))
    return elementwise(call)


def _new_channels(call: Call, setting: str, kernel, axis: int) -> np.ndarray:
    """Make the channels that an axis of a kernel and a bias index, and that a setting counts."""
    layer = call.layer
    made = call.make(getattr(layer, setting))
    call.slice(kernel, axis, made)
    call.slice(layer.bias if layer.use_bias else None, 0, made)
    call.size(made, setting)
    return made


def convolution(call: Call) -> list[Tensor]:
    """Mix all channels of the input, or those of each group."""
    layer, (x,) = call.layer, call.inputs
    axis = channel_axis(layer, x.shape)
    kernel = stored_kernel(layer)
    ids = call.read(x, axis)
    made = _new_channels(call, "filters", kernel, -1)
    if layer.groups > 1:
        # A removed channel takes the one in the same place of every group along.
        for channels in (made, ids):
            first, *others = (None,) if channels is None else channels.reshape(layer.groups, -1)
            for other in others:
                call.couple(first, other)
        ids = first
    call.slice(kernel, -2, ids)
    where = positions(call.output_shape, axis) * math.prod(kernel.shape[:-2])
    call.cost(where * (1 if ids is not None else kernel.shape[-2]), ids, made)
    return call.output(axis, made)


def transposed_convolution(call: Call) -> list[Tensor]:
    """Mix all channels, with the kernel's axes the other way round."""
    layer, (x,) = call.layer, call.inputs
    axis = channel_axis(layer, x.shape)
    kernel = layer.kernel
    ids = call.read(x, axis)
    call.slice(kernel, -1, ids)
    made = _new_channels(call, "filters", kernel, -2)
    where = positions(x.shape, axis) * math.prod(kernel.shape[:-2])
    call.cost(where * (1 if ids is not None else kernel.shape[-1]), ids, made)
    return call.output(axis, made)


def depthwise_convolution(call: Call) -> list[Tensor]:
    """Filter each channel by itself; with a multiplier, into several that go together."""
    layer, (x,) = call.layer, call.inputs
    axis = channel_axis(layer, x.shape)
    kernel = layer.kernel
    ids = call.read(x, axis)
    if ids is None:
        call.cost(positions(call.output_shape, axis) * math.prod(kernel.shape))
        return [Tensor(call.output_shape, None)]
    call.slice(kernel, -2, ids)
    made = np.repeat(ids, layer.depth_multiplier)
    call.slice(layer.bias if layer.use_bias else None, 0, made)
    call.cost(positions(call.output_shape, axis) * math.prod(kernel.shape[:-2]), made)
    return call.output(axis, made)


def separable_convolution(call: Call) -> list[Tensor]:
    """Filter each channel by itself, then mix them."""
    layer, (x,) = call.layer, call.inputs
    axis = channel_axis(layer, x.shape)
    ids = call.read(x, axis)
    where = positions(call.output_shape, axis)
    between = None if ids is None else np.repeat(ids, layer.depth_multiplier)
    depthwise, pointwise = layer.depthwise_kernel, layer.pointwise_kernel
    call.slice(depthwise, -2, ids)
    call.slice(pointwise, -2, between)
    made = _new_channels(call, "filters", pointwise, -1)
    count = 1 if between is not None else pointwise.shape[-2]
    call.cost(where * math.prod(depthwise.shape[:-2]) * count, between)
    call.cost(where * count, between, made)
    return call.output(axis, made)


def dense(call: Call) -> list[Tensor]:
    """Mix all channels of the last axis."""
    (x,) = call.inputs
    ids = call.read(x, -1)
    kernel = stored_kernel(call.layer)
    call.slice(kernel, 0, ids)
    made = _new_channels(call, "units", kernel, 1)
    count = 1 if ids is not None else kernel.shape[0]
    call.cost(positions(call.output_shape, -1) * count, ids, made)
    return call.output(-1, made)


def einsum_dense(call: Call) -> list[Tensor]:
    """Mix one axis; the last axis of the output may shrink where the kernel alone indexes it."""
    layer, (x,) = call.layer, call.inputs
    data, rest = layer.equation.replace(" ", "").replace("...", "").split(",")
    kernel, output = rest.split("->")
    last, variable = output[-1], stored_kernel(layer)
    free = "..." not in layer.equation and last in kernel and last not in data
    axes, ids = {}, None
    if "..." not in layer.equation:
        axes = {data.index(axis): axis for axis in kernel if axis in data and axis not in output}
    for axis, letter in axes.items():
        channels = call.agree(x.on(axis), letter)
        call.slice(variable, kernel.index(letter), channels)
        ids = channels if ids is None else ids
    if x.channels is None or x.channels.axis not in axes:
        call.pin_inputs()
    where = math.prod(size or 1 for size in call.output_shape[1:]) * math.prod(
        size for axis, size in zip(kernel, variable.shape, strict=True) if axis not in output
    )
    if ids is not None:
        where /= len(ids)
    if not free:
        call.cost(where, ids)
        return [Tensor(call.output_shape, None)]
    made = call.make(call.output_shape[-1])
    call.slice(variable, kernel.index(last), made)
    if layer.bias is not None and last in layer.bias_axes:
        call.slice(layer.bias, -1, made)
    if layer.bias is not None and last not in layer.bias_axes:
        call.pin(made)
    call.size(made, "output_shape", -1)
    call.cost(where / len(made), ids, made)
    return call.output(-1, made)


def embedding(call: Call) -> list[Tensor]:
    """Look up a vector for each token."""
    layer = call.layer
    made = call.make(layer.output_dim)
    call.slice(stored_embeddings(layer), 1, made)
    call.size(made, "output_dim")
    return call.output(-1, made)


def _attended(call) -> dict[str, Tensor]:
    """Return what an attention is given, by the name of the argument; keys are values if not."""
    given = {name: tensors[0] for name, tensors in call.named.items()}
    given |= dict(zip(("query", "value", "key"), call.inputs, strict=False))
    given.setdefault("key", given["value"])
    return given


def multi_head_attention(call: Call) -> list[Tensor]:
    """Attend: what enters is mixed, heads go as a whole, what leaves is new."""
    layer = call.layer
    given = _attended(call)
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
    return _with_scores(call, made)


def grouped_query_attention(call: Call) -> list[Tensor]:
    """Attend: heads of keys and values go with those of the queries that share them."""
    layer = call.layer
    given = _attended(call)
    shared = call.make(layer.num_key_value_heads, "heads")
    heads = np.repeat(shared, layer.num_query_heads // layer.num_key_value_heads)
    made = call.make(call.output_shape[-1])
    tokens, keys = positions(given["query"].shape, -1), positions(given["value"].shape, -1)
    projections, output = grouped_projections(layer)
    for role, projection in projections:
        own, count = (heads, tokens) if role == "query" else (shared, keys)
        ids, kernel = call.read(given[role], -1, role), stored_kernel(projection)
        call.slice(kernel, 0, ids)
        call.slice(kernel, 1, own)
        call.slice(projection.bias, 0, own)
        width = 1 if ids is not None else kernel.shape[0]
        call.cost(count * layer.head_dim * width, ids, own)
    call.cost(2 * tokens * keys * layer.head_dim, heads)
    call.couple(made, given["query"].on(-1))  # as many leave as enter
    call.slice(stored_kernel(output), 0, heads)
    call.slice(stored_kernel(output), -1, made)
    call.slice(output.bias, 0, made)
    call.cost(tokens * layer.head_dim, heads, made)
    call.size(heads, "num_query_heads")
    call.size(shared, "num_key_value_heads")
    return _with_scores(call, made)


def attention(call: Call) -> list[Tensor]:
    """Attend without kernels: the channels of queries and keys end in scores."""
    given = _attended(call)
    ids = {role: call.read(given[role], -1, role) for role in ("query", "key", "value")}
    call.contract(ids["query"], ids["key"])
    scale = getattr(call.layer, "scale", None)
    if scale is not None and len(scale.shape) == 1:  # a number for each of these channels
        call.slice(scale, 0, ids["query"])
    products = positions(given["query"].shape, -1) * positions(given["key"].shape, -1)
    for role in ("query", "value"):
        width = 1 if ids[role] is not None else given[role].shape[-1]
        call.cost(products * width, ids[role])
    return _with_scores(call, ids["value"])


def _with_scores(call, made):
    """Return what leaves an attention: channels, and scores where they are asked for."""
    first, *scores = call.output_shapes
    leaving = None if made is None else Channels(len(first) - 1, made)
    return [Tensor(first, leaving), *(Tensor(shape, None) for shape in scores)]


def dotted(call: Call) -> list[Tensor]:
    """Sum the products of two tensors over an axis of each; channels of one may remain."""
    if call.layer.normalize:
        return untracked(call)
    both = list(zip(call.inputs, np.broadcast_to(call.layer.axes, 2).tolist(), strict=True))
    summed = [x.on(axis) for x, axis in both]
    if all(ids is not None for ids in summed):
        call.contract(*summed)
        call.cost(math.prod(size or 1 for size in call.output_shape[1:]), summed[0])
        return [Tensor(call.output_shape, None)]
    call.pin(*summed)
    starts = 0, len(call.inputs[0].shape) - 2  # what their own axes are moved by in the output
    remaining = [
        (start + x.channels.axis - (x.channels.axis > axis % len(x.shape)), x.channels.ids)
        for start, (x, axis), ids in zip(starts, both, summed, strict=True)
        if ids is None and x.channels is not None
    ]
    call.pin(*(ids for _, ids in remaining[1:]))
    if not remaining:
        return untracked(call)
    axis, ids = remaining[0]
    length = call.inputs[0].shape[both[0][1]] or 1
    call.cost(length * positions(call.output_shape, axis), ids)
    return call.output(axis, ids)


def recurrent(call: Call) -> list[Tensor]:
    """Run a cell over time: its state is what it makes, and what it reads back."""
    layer = call.layer
    x, *states = [*call.inputs, *call.named.get("initial_state", [])]
    ids = call.read(x, -1)
    made = call.make(layer.units)
    for state in states:
        call.couple(made, state.on(-1))
    _slice_cell(call, layer.cell, ids, made)
    call.size(made, "units")
    _recurrent_cost(call, layer.cell, x, ids, made)
    return [Tensor(shape, Channels(len(shape) - 1, made)) for shape in call.output_shapes]


def _slice_cell(call, cell, ids, made):
    gated = np.tile(made, cell.kernel.shape[-1] // len(made))
    call.slice(cell.kernel, -2, ids)
    call.slice(cell.kernel, -1, gated)
    call.slice(cell.recurrent_kernel, -2, made)
    call.slice(cell.recurrent_kernel, -1, gated)
    call.slice(cell.bias, -1, gated)


def _recurrent_cost(call, cell, x, ids, made):
    steps = (x.shape[1] or 1) * (cell.kernel.shape[1] // cell.units)
    call.cost(steps * (1 if ids is not None else cell.kernel.shape[0]), ids, made)
    call.cost(steps, made, made)


def recurrent_convolution(call: Call) -> list[Tensor]:
    """Run a cell of convolutions over time."""
    layer, cell = call.layer, call.layer.cell
    x, *states = [*call.inputs, *call.named.get("initial_state", [])]
    axis = len(x.shape) - 1 if layer.data_format == "channels_last" else 2
    ids = call.read(x, axis)
    made = call.make(layer.filters)
    for state in states:
        call.couple(made, state.on(axis - 1))
    _slice_cell(call, cell, ids, made)
    call.size(made, "filters")
    one = call.output_shapes[-1] if layer.return_state else call.output_shape
    behind = axis - len(x.shape)  # counted from the end, which outputs with and without time share
    gates = cell.kernel.shape[-1] // layer.filters
    steps = (x.shape[_TIME] or 1) * gates * math.prod(cell.kernel.shape[:-2])
    skipped = (behind, _TIME) if len(one) == len(x.shape) else (behind,)
    places = positions(one, *skipped)
    call.cost(steps * places * (1 if ids is not None else cell.kernel.shape[-2]), ids, made)
    call.cost(steps * places, made, made)
    return [Tensor(shape, Channels(len(shape) + behind, made)) for shape in call.output_shapes]


def time_distributed(call: Call) -> list[Tensor]:
    """Do at each step what the layer inside does."""
    inner, (x,) = call.layer.layer, call.inputs
    rule = RULES.get(type(inner), untracked)
    if x.channels is not None and x.channels.axis <= _TIME:
        return untracked(call)
    channels = x.channels and Channels(x.channels.axis - 1, x.channels.ids)
    step = Tensor((x.shape[0], *x.shape[_TIME + 1 :]), channels)
    shape = (call.output_shape[0], *call.output_shape[_TIME + 1 :])
    settings, times = ("layer", "config"), x.shape[_TIME] or 1
    (made,) = rule(call.of_inner(inner, [step], shape, settings, times))
    if made.channels is None:
        return [Tensor(call.output_shape, None)]
    return call.output(made.channels.axis + 1, made.channels.ids)


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
    merged = np.tile(made, 2) if layer.merge_mode == "concat" else made
    # Outputs of both directions, or one that is merged, and the states of both.
    return [
        Tensor(shape, Channels(len(shape) - 1, made if number else merged))
        for number, shape in enumerate(call.output_shapes)
    ]


_BY_LAYER = {
    elementwise: (
        kl.Activation, kl.ReLU, kl.LeakyReLU, kl.ELU, kl.Dropout, kl.GaussianDropout,
        kl.GaussianNoise, kl.AlphaDropout, kl.SpatialDropout1D, kl.SpatialDropout2D,
        kl.SpatialDropout3D, kl.ActivityRegularization, kl.Identity,
    ),
    broadcast: (kl.Add, kl.Subtract, kl.Multiply, kl.Average, kl.Maximum, kl.Minimum),
    concatenated: (kl.Concatenate,),
    reshaped: (kl.Flatten, kl.Reshape, kl.Permute),
    globally_pooled: (
        kl.GlobalAveragePooling1D, kl.GlobalAveragePooling2D, kl.GlobalAveragePooling3D,
        kl.GlobalMaxPooling1D, kl.GlobalMaxPooling2D, kl.GlobalMaxPooling3D,
    ),
    spatial: (
        kl.AveragePooling1D, kl.AveragePooling2D, kl.AveragePooling3D, kl.MaxPooling1D,
        kl.MaxPooling2D, kl.MaxPooling3D, kl.UpSampling1D, kl.UpSampling2D, kl.UpSampling3D,
        kl.ZeroPadding1D, kl.ZeroPadding2D, kl.ZeroPadding3D, kl.Cropping1D, kl.Cropping2D,
        kl.Cropping3D, kl.Resizing,
    ),
    convolution: (kl.Conv1D, kl.Conv2D, kl.Conv3D),
    transposed_convolution: (kl.Conv1DTranspose, kl.Conv2DTranspose, kl.Conv3DTranspose),
    depthwise_convolution: (kl.DepthwiseConv1D, kl.DepthwiseConv2D),
    separable_convolution: (kl.SeparableConv1D, kl.SeparableConv2D),
    dense: (kl.Dense,),
    einsum_dense: (kl.EinsumDense,),
    embedding: (kl.Embedding,),
    batch_normalization: (kl.BatchNormalization,),
    group_normalization: (kl.GroupNormalization,),
    normalized: (
        kl.LayerNormalization, kl.RMSNormalization, kl.Softmax, kl.UnitNormalization,
    ),
    prelu: (kl.PReLU,),
    multi_head_attention: (kl.MultiHeadAttention,),
    grouped_query_attention: (kl.GroupQueryAttention,),
    attention: (kl.Attention, kl.AdditiveAttention),
    dotted: (kl.Dot,),
    recurrent: RECURRENT,
    recurrent_convolution: (kl.ConvLSTM1D, kl.ConvLSTM2D, kl.ConvLSTM3D),
    time_distributed: (kl.TimeDistributed,),
    bidirectional: (kl.Bidirectional,),
}  # fmt: skip

RULES = {kind: rule for rule, kinds in _BY_LAYER.items() for kind in kinds}
