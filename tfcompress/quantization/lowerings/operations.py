"""Forms of TensorFlow operations, wherever a model makes them, that integer kernels can follow.

The converter leaves some operations in float, or makes integer operations of them that compute
something else, although the same can be said with others.
"""

import functools
import re
from collections.abc import Callable, Collection, Mapping

import numpy as np
import tensorflow as tf
from keras import layers as kl

from tfcompress.quantization.lowerings import activations

# The converter has one integer operation for each of these, which it knows by its parts: layers,
# and the scopes of TensorFlow's functions.
_KNOWN_BY_PARTS = (kl.PReLU,)
_FAR = 1e6
_LONGEST_SUM = 256  # its matrix has the square of that
_SCOPES = re.compile(r"(^|/)(Gelu|l2_normalize)(_\d+)?/")
_SCOPES_FOR_16_BITS = re.compile(r"(^|/)Gelu(_\d+)?/")  # L2_NORMALIZATION has no 16-bit kernel
_L2_NORMALIZATION = "L2Normalize"  # stands for the parts of TensorFlow's function
_LIMITED_ROOT = "Minimum of Rsqrt"  # stands for one operation behind another


def _negated(operation):
    (x,) = operation.inputs
    return x * -1.0 if x.dtype.is_floating else None


def _signed(operation):
    (x,) = operation.inputs
    one, zero = (tf.constant(number, x.dtype) for number in (1, 0))
    return tf.where(x > 0, one, tf.where(x < 0, -one, zero)) if x.dtype.is_floating else None


def _squared(operation):
    (x,) = operation.inputs
    return x * x if x.dtype.is_floating else None


def _difference_squared(operation):
    x, y = operation.inputs
    return (x - y) * (x - y) if x.dtype.is_floating else None


def _exponential_minus_one(operation):
    return tf.exp(operation.inputs[0]) - 1.0


def _cast(operation):
    """Make numbers of truths by a choice, and indices not of floats that were made of them."""
    (x,), dtype = operation.inputs, operation.outputs[0].dtype
    if x.dtype == tf.bool and dtype.is_floating:
        return tf.where(x, tf.ones((), dtype), tf.zeros((), dtype))
    integers = _cast_from(x) if dtype.is_integer else None
    return None if integers is None else tf.cast(integers, dtype)


def _cast_from(x):
    """Return the integers that floats were cast from, None if there are none."""
    source = x.op.inputs[0] if x.op.inputs else None
    if x.op.type == "Cast":
        return source if source.dtype.is_integer else None
    if x.op.type in ("ExpandDims", "Reshape", "Squeeze") and None not in x.shape[1:]:
        integers = _cast_from(source)
        return None if integers is None else tf.reshape(integers, [-1, *x.shape[1:]])
    return None


def _divided_by_a_root(operation):
    """Multiply by the inverse of a square root, as the converter would unseen."""
    x, y = operation.inputs
    return x * tf.math.rsqrt(y.op.inputs[0]) if y.op.type == "Sqrt" else None


def _where_finite(operation):
    """Leave out a choice of what is finite: what integers stand for always is."""
    condition, x, _ = operation.inputs
    known = condition.op.type == "IsFinite" and condition.op.inputs[0] is x
    return tf.identity(x) if known else None


def _cumulative_sum(operation):
    """Sum up by a matrix of zeros and ones, for which there are integer kernels."""
    x, axis = operation.inputs
    axis = tf.get_static_value(axis)
    rank = len(x.shape)
    if axis is None or axis % rank == 0 or not x.dtype.is_floating:
        return None
    axis = int(axis % rank)
    size = x.shape[axis]
    if None in x.shape[1:] or size > _LONGEST_SUM:
        return None
    ones = np.triu(np.ones((size, size)), int(operation.get_attr("exclusive")))
    matrix = tf.constant(ones.T if operation.get_attr("reverse") else ones, x.dtype)
    order = [*(i for i in range(rank) if i != axis), axis]
    rows = tf.transpose(x, order)
    sums = tf.matmul(tf.reshape(rows, [-1, size]), matrix)
    shape = [-1, *(x.shape[i] for i in order[1:])]
    return tf.transpose(tf.reshape(sums, shape), np.argsort(order))


def _one_hot(operation):
    indices, depth, on, off = operation.inputs
    depth = tf.get_static_value(depth)
    if depth is None or not on.dtype.is_floating:
        return None
    axis = operation.get_attr("axis")
    classes = tf.range(depth, dtype=indices.dtype)
    if axis != -1:
        classes = tf.reshape(classes, [-1] + [1] * (len(indices.shape) - axis))
    return tf.where(tf.equal(tf.expand_dims(indices, axis), classes), on, off)


def _clipped_at_six(operation):
    (x,) = operation.inputs
    return tf.nn.relu(x) - tf.nn.relu(x - 6.0)


def _unequal(operation):
    x, y = operation.inputs
    if x.dtype.is_floating:
        return tf.logical_or(x > y, x < y)
    zero = tf.get_static_value(y)
    # The quantizer for 16 bits takes a comparison of indices for one of activations.
    return tf.cast(x, tf.bool) if zero is not None and not zero.any() else None


def _filled_with(value):
    """Fill a shape with a number: the converter folds it where the batch size is fixed."""

    def form(operation):
        (x,) = operation.inputs
        return tf.fill(tf.shape(x), tf.cast(value, x.dtype)) if x.dtype.is_floating else None

    return form


def _summed(operation):
    """Sum up by an average: the kernels' sums of 16 bits overflow."""
    x, axes = operation.inputs
    axes = tf.get_static_value(axes)
    if axes is None or not x.dtype.is_floating:
        return None
    count = tf.TensorShape([x.shape[axis] for axis in axes.ravel()]).num_elements()
    if count is None:
        return None
    return tf.reduce_mean(x, axes, operation.get_attr("keep_dims")) * float(count)


def _without_far_limit(operation):
    """Leave out a limit that nothing reaches: as a constant of the values' scale it overflows."""
    x, y = operation.inputs
    limit = tf.get_static_value(y)
    if limit is None or limit.size != 1 or not x.dtype.is_floating:
        return None
    return x if limit > _FAR else None


def _limited_root(operation):
    """Limit what the root is taken of: of zero, LiteRT's float kernel makes NaN, not infinity."""
    x, y = operation.inputs
    limit = tf.get_static_value(y)
    if x.op.type != "Rsqrt" or limit is None or limit.size != 1 or limit <= 0:
        return None
    return tf.math.rsqrt(tf.maximum(x.op.inputs[0], tf.cast(limit**-2.0, x.dtype)))


def _pooled_in_turns(pool):
    """Pool over height and width, then over depth: there is no pooling over three dimensions."""

    def form(operation):
        (x,) = operation.inputs
        if operation.get_attr("data_format") != b"NDHWC" or None in x.shape[1:]:
            return None
        _, *size, _ = operation.get_attr("ksize")
        _, *strides, _ = operation.get_attr("strides")
        padding = operation.get_attr("padding").decode()
        depth, height, width, channels = x.shape[1:]
        x = pool(tf.reshape(x, [-1, height, width, channels]), size[1:], strides[1:], padding)
        height, width = x.shape[1:3]
        x = tf.reshape(x, [-1, depth, height * width, channels])
        x = pool(x, [size[0], 1], [strides[0], 1], padding)
        return tf.reshape(x, [-1, x.shape[1], height, width, channels])

    return form


def _extreme(find):
    """Find an extreme without the bits of negative zeros, which Keras looks at before."""

    def form(operation):
        x, axis = operation.inputs
        choice = x.op.inputs[0].op if x.op.type == "Reshape" else x.op
        if choice.type != "SelectV2" or not _is_tiny(choice.inputs[1]):
            return None
        # The shape in numbers: that of a tensor would keep it, where the batch size is free.
        shape = [-1 if size is None else size for size in x.shape]
        values = tf.reshape(choice.inputs[2], shape)
        return find(values, axis, operation.get_attr("output_type"))

    return form


def _is_tiny(x):
    value = tf.get_static_value(x)
    return value is not None and value.size == 1 and abs(value) == np.finfo(value.dtype).tiny


def _of_one(function):
    return lambda operation: function(operation.inputs[0])


# TFLite has none at all for these.
_UNKNOWN = {
    "ArgMax": _extreme(tf.argmax),
    "ArgMin": _extreme(tf.argmin),
    "AvgPool3D": _pooled_in_turns(tf.nn.avg_pool2d),
    "MaxPool3D": _pooled_in_turns(tf.nn.max_pool2d),
}
_EXACT = {
    **_UNKNOWN,
    "Cast": _cast,
    "Cumsum": _cumulative_sum,
    "Minimum": _without_far_limit,
    "Neg": _negated,
    "NotEqual": _unequal,
    "OneHot": _one_hot,
    "OnesLike": _filled_with(1.0),
    "RealDiv": _divided_by_a_root,
    "Relu6": _clipped_at_six,
    "SelectV2": _where_finite,
    "Sign": _signed,
    "ZerosLike": _filled_with(0.0),
}
# Their parts need ranges of their own, closer ones than the converter observes.
_INEXACT = {
    "Elu": _of_one(activations.elu),
    "Expm1": _exponential_minus_one,
    "Selu": _of_one(activations.selu),
    "Softplus": _of_one(activations.softplus),
    "Softsign": _of_one(activations.softsign),
    "Square": _squared,
    "SquaredDifference": _difference_squared,
    "Sum": _summed,
}
FORMS = {**_EXACT, **_INEXACT}

# What the converter or a kernel gets wrong, not just leaves in float.
_ALWAYS = {
    None: (_LIMITED_ROOT,),
    8: ("Minimum", "OneHot", "OnesLike", "SelectV2", "ZerosLike"),
    16: (
        "Minimum",
        "NotEqual",
        "OnesLike",
        "SelectV2",
        "Square",
        "SquaredDifference",
        "Sum",
        "ZerosLike",
    ),
}
_NEVER_NEEDED = ("SquaredDifference", "Sum")
# HARD_SWISH, which has no 16-bit kernel, is made of it.
_NEEDED_FOR_16_BITS = ("Relu6",)


def rewritings(
    bits: int | None, by_converter: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """List which operations to give another form, the least change first.

    Args:
        bits: those of the activations; ``None`` for float.
        by_converter: whether the ranges are those that the converter observes.

    Returns:
        Types of operations, first for any model, then for those that the converter refuses, or of
        which some would stay in float.
    """
    needed = _UNKNOWN if bits is None else _EXACT if by_converter else FORMS
    left_out = _NEVER_NEEDED if bits == 16 else (*_NEVER_NEEDED, *_NEEDED_FOR_16_BITS)
    always = _ALWAYS[bits]
    if bits == 16:
        always = (*always, _L2_NORMALIZATION)
    return always, tuple(sorted({*always, *needed}.difference(left_out) | {*always}))


def forms_for(kinds: Collection[str]) -> Callable[[object], Mapping[str, Callable]]:
    """Return which operations of a layer's call have another form.

    Args:
        kinds: types of TensorFlow operations, see ``rewritings``.

    Returns:
        A callable that takes the layer, see ``HookedCalls``.
    """
    known = _SCOPES_FOR_16_BITS if _L2_NORMALIZATION in kinds else _SCOPES
    chosen = {
        kind: functools.partial(_unless_known, known, FORMS[kind])
        for kind in kinds
        if kind not in (_L2_NORMALIZATION, _LIMITED_ROOT)
    }
    if _LIMITED_ROOT in kinds:
        chosen["Minimum"] = _limited_root
    return lambda layer: {} if isinstance(layer, _KNOWN_BY_PARTS) else chosen


def _unless_known(known, form, operation):
    """Return an operation's form, None where the converter knows it as part of a function."""
    return None if known.search(operation.name) else form(operation)
