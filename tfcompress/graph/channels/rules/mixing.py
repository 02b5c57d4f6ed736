"""Layers that mix channels by a kernel and make new ones."""

import math

import numpy as np

from tfcompress.compat.keras_layers import stored_embeddings, stored_kernel
from tfcompress.graph.channels.calls import Call, Tensor, positions
from tfcompress.graph.channels.rules.passing import channel_axis


def convolution(call: Call) -> list[Tensor]:
    """Mix all channels of the input, or those of each group."""
    layer, (x,) = call.layer, call.inputs
    axis = channel_axis(layer, x.shape)
    kernel = stored_kernel(layer)
    ids = call.read(x, axis)
    made = call.make(layer.filters)
    where = positions(call.output_shape, axis) * math.prod(kernel.shape[:-2])
    if layer.groups > 1:
        # A removed channel takes the one in the same place of every group along.
        made_in_groups = made.reshape(layer.groups, -1)
        for other in made_in_groups[1:]:
            call.tie(made_in_groups[0], other)
        read_in_groups = None
        if ids is not None:
            read_in_groups = ids.reshape(layer.groups, -1)
            for other in read_in_groups[1:]:
                call.tie(read_in_groups[0], other)
            read_in_groups = read_in_groups[0]
        call.slice(kernel, -2, read_in_groups)
        inputs = (read_in_groups,) if ids is not None else ()
    else:
        call.slice(kernel, -2, ids)
        inputs = (ids,) if ids is not None else ()
    call.slice(kernel, -1, made)
    call.slice(layer.bias if layer.use_bias else None, 0, made)
    call.size(made, "filters")
    call.cost(where * (1 if inputs else kernel.shape[-2]), *inputs, made)
    return call.output(axis, made)


def transposed_convolution(call: Call) -> list[Tensor]:
    """Mix all channels, with the kernel's axes the other way round."""
    layer, (x,) = call.layer, call.inputs
    axis = channel_axis(layer, x.shape)
    ids = call.read(x, axis)
    made = call.make(layer.filters)
    kernel = layer.kernel
    call.slice(kernel, -1, ids)
    call.slice(kernel, -2, made)
    call.slice(layer.bias if layer.use_bias else None, 0, made)
    call.size(made, "filters")
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
    made = call.make(layer.filters)
    where = positions(call.output_shape, axis)
    between = None if ids is None else np.repeat(ids, layer.depth_multiplier)
    depthwise, pointwise = layer.depthwise_kernel, layer.pointwise_kernel
    call.slice(depthwise, -2, ids)
    call.slice(pointwise, -2, between)
    call.slice(pointwise, -1, made)
    call.slice(layer.bias if layer.use_bias else None, 0, made)
    call.size(made, "filters")
    count = 1 if between is not None else pointwise.shape[-2]
    call.cost(where * math.prod(depthwise.shape[:-2]) * count, between)
    call.cost(where * count, between, made)
    return call.output(axis, made)


def dense(call: Call) -> list[Tensor]:
    """Mix all channels of the last axis."""
    layer, (x,) = call.layer, call.inputs
    ids = call.read(x, -1)
    made = call.make(layer.units)
    kernel = stored_kernel(layer)
    call.slice(kernel, 0, ids)
    call.slice(kernel, 1, made)
    call.slice(layer.bias if layer.use_bias else None, 0, made)
    call.size(made, "units")
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
    mixed = x.channels is not None and "..." not in layer.equation
    letter = data[x.channels.axis] if mixed else None
    ids = None
    if letter in kernel and letter not in output:
        ids = call.read(x, x.channels.axis)
        call.slice(variable, kernel.index(letter), ids)
    else:
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
