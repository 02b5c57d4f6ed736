"""What functions of keras.ops, and operators of symbolic tensors, do to channels.

They appear in a graph as operations, each of a class of Keras. A rule gets a call, as those of
layers do.
"""

import numpy as np

from tfcompress.keras_graph.channels.calls import Call, Channels, Tensor, positions
from tfcompress.keras_graph.channels.rules import (
    broadcast,
    concatenated,
    elementwise,
    normalized,
    reshaped,
    spatial,
    untracked,
)


def reduced(call: Call) -> list[Tensor]:
    """Reduce over axes other than that of the channels."""
    operation, (x,) = call.layer, call.inputs
    rank = len(x.shape)
    axes = set(range(rank)) if operation.axis is None else {a % rank for a in _all(operation.axis)}
    if x.channels is None or x.channels.axis in axes:
        return untracked(call)
    gone = 0 if operation.keepdims else sum(axis < x.channels.axis for axis in axes)
    return call.output(x.channels.axis - gone, x.channels.ids)


def permuted(call: Call) -> list[Tensor]:
    """Bring the axes into another order."""
    operation, (x,) = call.layer, call.inputs
    if x.channels is None:
        return untracked(call)
    # An array whose sizes are the numbers of its axes, from one.
    axes = np.broadcast_to(0, range(1, len(x.shape) + 1))
    match type(operation).__name__:
        case "Transpose":
            order = np.transpose(axes, operation.axes).shape
        case "Swapaxes":
            order = np.swapaxes(axes, operation.axis1, operation.axis2).shape
        case _:
            order = np.moveaxis(axes, operation.source, operation.destination).shape
    return call.output(order.index(x.channels.axis + 1), x.channels.ids)


def padded(call: Call) -> list[Tensor]:
    """Pad axes; channels that are added stay."""
    (x,) = call.inputs
    if x.channels is None:
        return untracked(call)
    counts = call.layer.pad_width[x.channels.axis]
    before, after = (call.make(count, f"added {side}") for side, count in enumerate(counts))
    call.pin(before, after)
    return call.output(x.channels.axis, np.concatenate([before, x.channels.ids, after]))


def flipped(call: Call) -> list[Tensor]:
    """Turn axes round."""
    (x,), axis = call.inputs, call.layer.axis
    if x.channels is None:
        return untracked(call)
    turned = axis is None or x.channels.axis in {one % len(x.shape) for one in _all(axis)}
    return call.output(x.channels.axis, x.channels.ids[:: -1 if turned else 1])


def split(call: Call) -> list[Tensor]:
    """Cut an axis into parts; if it is that of the channels, they shrink alike."""
    operation, (x,) = call.layer, call.inputs
    if x.channels is None:
        return untracked(call)
    axis, parts = x.channels.axis, [x.channels.ids] * len(call.output_shapes)
    if operation.axis % len(x.shape) == axis:
        parts = np.split(x.channels.ids, operation.indices_or_sections)
        if np.ndim(operation.indices_or_sections):  # at indices, which stay
            call.pin(x.channels.ids)
        else:
            for part in parts[1:]:
                call.couple(parts[0], part)
    shaped = zip(call.output_shapes, parts, strict=True)
    return [Tensor(shape, Channels(axis, part)) for shape, part in shaped]


def stacked(call: Call) -> list[Tensor]:
    """Put tensors side by side on a new axis: their channels shrink together."""
    axes = {None if x.channels is None else x.channels.axis for x in call.inputs}
    if len(axes) > 1 or None in axes:
        return untracked(call)
    (axis,), first = axes, call.inputs[0].channels.ids
    for x in call.inputs[1:]:
        call.couple(first, x.channels.ids)
    new = call.layer.axis % len(call.output_shape)
    return call.output(axis + (new <= axis), first)


def indexed(call: Call) -> list[Tensor]:
    """Take a part of a tensor: ``x[:, 0]``; of the channels, those that are taken stay."""
    x, key = call.arguments
    keys = list(key) if isinstance(key, tuple) else [key]
    plain = isinstance(x, Tensor) and all(map(_is_plain, keys))
    if not plain or x.channels is None:
        return untracked(call)
    if Ellipsis not in keys:
        keys.append(Ellipsis)
    place = keys.index(Ellipsis)
    missing = len(x.shape) - sum(one is not None for one in keys) + 1
    keys[place : place + 1] = [slice(None)] * missing
    read = written = 0  # axes so far
    for one in keys:
        if one is None:
            written += 1
            continue
        if read == x.channels.axis:
            break
        read += 1
        written += isinstance(one, slice)
    if not isinstance(one, slice):
        return untracked(call)
    if one != slice(None):
        call.pin(x.channels.ids)
    return call.output(written, x.channels.ids[one])


def multiplied(call: Call) -> list[Tensor]:
    """Multiply matrices: the columns of one end in sums with the rows of the other."""
    one, other = (
        x if isinstance(x, Tensor) else Tensor(tuple(x.shape), None) for x in call.arguments
    )
    if min(len(one.shape), len(other.shape)) < 2:
        return untracked(call)
    columns, rows, made = one.on(-1), other.on(-2), other.on(-1)
    for x, followed in ((one, (columns,)), (other, (rows, made))):
        if x.channels is not None and all(ids is None for ids in followed):
            call.pin(x.channels.ids)
    inner = columns if rows is not None else None
    if inner is None:
        call.pin(columns, rows)
    else:
        call.contract(columns, rows)
    places = positions(call.output_shape, -1)
    size = (1 if inner is not None else one.shape[-1] or 1) * (
        1 if made is not None else other.shape[-1] or 1
    )
    call.cost(places * size, inner, made)
    return call.output(-1, made)


def _all(axes) -> list[int]:
    """Return one axis or several as a list."""
    return [int(axis) for axis in np.atleast_1d(axes)]


def _is_plain(key) -> bool:
    """Tell whether one index of several is a number, a slice, ``...`` or None."""
    return key is None or key is Ellipsis or isinstance(key, (int, slice))


_BY_OPERATION = {
    elementwise: (
        "Abs", "Cast", "Ceil", "Celu", "Clip", "Cos", "Elu", "Erf", "Exp", "Expm1", "Floor",
        "Gelu", "HardShrink", "HardSigmoid", "HardSilu", "HardTanh", "Identity", "LeakyRelu",
        "Log", "Log1p", "LogSigmoid", "Negative", "Reciprocal", "Relu", "Relu6", "Round", "Rsqrt",
        "Selu", "Sigmoid", "Sign", "Silu", "Sin", "SoftShrink", "Softplus", "Softsign", "Sqrt",
        "Square", "SquarePlus", "StopGradient", "Tanh", "TanhShrink", "Threshold",
    ),
    broadcast: (
        "Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum", "Power",
    ),
    concatenated: ("Concatenate",),
    reshaped: ("ExpandDims", "Reshape", "Squeeze"),
    permuted: ("Moveaxis", "Swapaxes", "Transpose"),
    reduced: ("Max", "Mean", "Min", "Prod", "Std", "Sum", "Var"),
    normalized: ("LogSoftmax", "Softmax"),
    spatial: ("AveragePool", "MaxPool"),
    padded: ("Pad",),
    flipped: ("Flip",),
    split: ("Split",),
    stacked: ("Stack",),
    indexed: ("GetItem",),
    multiplied: ("Matmul",),
}  # fmt: skip

OPERATION_RULES = {name: rule for rule, names in _BY_OPERATION.items() for name in names}
TAKE_ARRAYS = frozenset({"Matmul"})  # beside tensors: what they hold does not matter to the rule
