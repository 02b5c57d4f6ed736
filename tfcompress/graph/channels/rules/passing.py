"""Layers that hand channels on: element by element, joined, moved, pooled or scaled."""

import numpy as np
from keras import layers as kl

from tfcompress.graph.channels.calls import Call, Tensor


def untracked(call: Call) -> list[Tensor]:
    """Keep all that is read; nothing that is made can be removed."""
    call.pin_inputs()
    return [Tensor(shape, None) for shape in call.output_shapes]


def passed_on(call: Call) -> list[Tensor]:
    """Make each channel of the output from the same channel of the input."""
    (x,) = call.inputs
    if x.channels is None or len(x.shape) != len(call.output_shape):
        return untracked(call)
    return call.output(x.channels.axis, x.channels.ids)


def softmax(call: Call) -> list[Tensor]:
    """Normalize over an axis, whose channels depend on each other."""
    (x,) = call.inputs
    axes = np.atleast_1d(call.layer.axis)
    return untracked(call) if any(x.on(axis) is not None for axis in axes) else passed_on(call)


def combined(call: Call) -> list[Tensor]:
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
            call.tie(joined, channels)
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
        return combined(call)
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
    if x.channels is None or None in shape or None in wanted:
        return untracked(call)
    axis = x.channels.axis - 1
    ids = x.channels.ids.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    elements = np.broadcast_to(ids, shape)
    if isinstance(call.layer, kl.Permute):
        elements = elements.transpose([dim - 1 for dim in call.layer.dims])
    else:
        elements = elements.reshape(wanted)
    for target in range(len(wanted)):
        line = elements[tuple(slice(None) if i == target else 0 for i in range(len(wanted)))]
        if (np.moveaxis(elements, target, -1) == line).all():
            if isinstance(call.layer, kl.Reshape) and call.layer.target_shape[target] != -1:
                call.size(line, "target_shape", target)
            return call.output(target + 1, line)
    return untracked(call)


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
    return untracked(call) if x.on(axis) is None else passed_on(call)


def batch_normalization(call: Call) -> list[Tensor]:
    """Scale and shift each channel by itself."""
    layer, (x,) = call.layer, call.inputs
    ids = call.read(x, layer.axis)
    if ids is None:
        return untracked(call)
    for variable in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance):
        call.slice(variable, 0, ids)
    return passed_on(call)


def normalized_over_channels(call: Call) -> list[Tensor]:
    """Normalize by statistics over an axis: what is removed would change all that is left."""
    (x,) = call.inputs
    axis = getattr(call.layer, "axis", -1)
    axes = [axis] if isinstance(axis, int) else list(axis)
    return untracked(call) if any(x.on(a) is not None for a in axes) else passed_on(call)


def leaky(call: Call) -> list[Tensor]:
    """Apply PReLU, whose slopes may be one per channel."""
    layer, (x,) = call.layer, call.inputs
    if x.channels is None:
        return untracked(call)
    axis = x.channels.axis - 1
    if layer.alpha.shape[axis] != 1:
        call.slice(layer.alpha, axis, call.read(x, x.channels.axis))
    return passed_on(call)
