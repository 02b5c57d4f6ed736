"""Forms of TensorFlow operations, wherever a model makes them, for integer kernels.

The converter leaves some operations in float, or makes integer operations of them that compute
something else, although the same can be said with others.
"""

import functools
import re
from collections.abc import Callable, Collection, Iterable, Mapping

import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl

from tfcompress.keras_graph.inner_tensors import as_computed, unwatched
from tfcompress.keras_graph.interception import is_deploying
from tfcompress.quantization.arithmetic.fake_quantization import DIVISOR_FLOOR
from tfcompress.quantization.lowerings.activations import elu, selu, softplus, softsign

# The converter has one integer operation for each of these, which it knows by its parts: layers,
# and the scopes of TensorFlow's functions.
_KNOWN_BY_PARTS = (kl.PReLU,)
_PARTS = "PReLU"  # stands for those parts, one by one
_FAR = 1e6
_LONGEST_SUM = 256  # its matrix has the square of that
_MOST_COPIES = 16
_LARGEST_PRODUCT = 8
_GUARDED = "divisor_without_zeros"
_LEAST_POWERED = 1e-6  # of less, powers that are no products count as zero
_SCOPES = re.compile(r"(^|/)(Gelu|l2_normalize)(_\d+)?/")
_SCOPES_FOR_16_BITS = re.compile(r"(^|/)Gelu(_\d+)?/")  # L2_NORMALIZATION has no 16-bit kernel
_L2_NORMALIZATION = "L2Normalize"  # stands for the parts of TensorFlow's function
_LIMITED_ROOT = "Minimum of Rsqrt"  # stands for one operation behind another
_SOFTMAX = "RealDiv of Exp"  # likewise
# Stands for those of more axes than the integer kernel takes; the converter makes SQUARE of them.
_WIDE_DIFFERENCE, _MOST_AXES = "SquaredDifference of 5 axes", 4


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


def _signed(x):
    """Choose a number by the sign."""
    one, zero = (tf.constant(number, x.dtype) for number in (1, 0))
    return tf.where(x > 0, one, tf.where(x < 0, -one, zero))


def _divided(operation):
    """Multiply by the inverse of a square root, as the converter would unseen.

    What else is divided by must not round to zero: kernels divide by that without a warning. On a
    device a divisor that is known to be positive has a floor, of one step (``DIVISOR_FLOOR``); in
    training the quotient by zero is zero.
    """
    x, y = operation.inputs
    if not x.dtype.is_floating or _GUARDED in y.op.name:
        return None
    root = as_computed(y).op  # it is rounded where something else reads it, too
    if root.type == "Sqrt":
        return x * tf.math.rsqrt(root.inputs[0])
    if tf.get_static_value(y) is not None:
        return None
    if not is_deploying():
        return x / _without_zeros(y)
    return x / _above_zero(y) if _is_positive(y) else None


@unwatched
def _without_zeros(y):
    return tf.where(tf.equal(y, 0.0), tf.cast(_FAR**5, y.dtype), y, name=_GUARDED)


@unwatched
def _above_zero(y):
    return tf.maximum(y, tf.cast(DIVISOR_FLOOR, y.dtype), name=_GUARDED)


_ADDITIONS = frozenset({"Add", "AddV2", "BiasAdd"})
_SIGN_IS_KEPT = frozenset(
    {"ExpandDims", "Identity", "Max", "Mean", "Min", "Reshape", "Sqrt", "Squeeze", "Sum"}
)
_NEVER_NEGATIVE = frozenset({"Abs", "Relu", "Relu6", "Sigmoid", "Softmax", "Sqrt", "Square"})


def _is_positive(x, strictly=True, depth=12):
    """Tell whether a tensor is above zero by the operations that make it, or not below it."""
    kind, inputs = x.op.type, x.op.inputs
    value = tf.get_static_value(x)
    if value is not None:
        return bool((value > 0).all() if strictly else (value >= 0).all())
    if kind in ("Exp", "Softplus") or (kind in _NEVER_NEGATIVE and not strictly):
        return True
    known = functools.partial(_is_positive, depth=depth - 1)
    if not depth:
        return False
    if kind in _SIGN_IS_KEPT:
        return known(inputs[0], strictly)
    if kind in ("Mul", "RealDiv"):
        same = inputs[0] is inputs[1] and not strictly
        return same or all(known(each, strictly) for each in inputs)
    if kind in _ADDITIONS:
        return all(known(each, False) for each in inputs) and (
            not strictly or any(map(known, inputs))
        )
    return kind == "Maximum" and any(known(each, strictly) for each in inputs)


def _power(operation):
    """Compute a constant power by products and roots, others by the logarithm."""
    x, power = operation.inputs
    value = tf.get_static_value(power)
    if not x.dtype.is_floating:
        return None
    if value is None:
        return tf.exp(power * tf.math.log(tf.maximum(x, _LEAST_POWERED)))
    return _to_the(x, float(value)) if value.size == 1 else None


def _to_the(x, power):
    """Return a power by a number, None where there is no form."""
    if power < 0:
        root = tf.math.rsqrt(x) if power == -0.5 else None
        inverse = None if root is not None else _to_the(x, -power)
        return root if inverse is None else 1.0 / inverse
    whole, part = divmod(power, 1.0)
    if part not in (0.0, 0.5) or not 0 < power <= _LARGEST_PRODUCT:
        above = x > _LEAST_POWERED
        found = tf.exp(power * tf.math.log(tf.maximum(x, _LEAST_POWERED)))
        return tf.where(above, found, tf.zeros((), x.dtype)) if power > 0 else None
    factors = [x] * int(whole) + ([tf.sqrt(x)] if part else [])
    return functools.reduce(lambda product, factor: product * factor, factors)


def _tiled(operation):
    """Lay copies side by side: TFLite Micro and the reference kernels have no TILE of integers."""
    (x, counts), made = operation.inputs, operation.outputs[0].shape
    counts = tf.get_static_value(counts, partial=True)
    known = counts is not None and counts[0] == 1 and None not in (*x.shape[1:], *made[1:])
    if not known or not x.dtype.is_floating:
        return None
    counts = [1, *(n // size for n, size in zip(made[1:], x.shape[1:], strict=True))]
    if np.prod(counts) > _MOST_COPIES:
        return None
    for axis, count in enumerate(counts):
        x = tf.concat([x] * count, axis) if count > 1 else x
    return x


def _added(operation):
    """Copy one channel before several numbers are added to it.

    The converter makes these the bias of the layer before, which has one channel.
    """
    for x, numbers in (operation.inputs, operation.inputs[::-1]):
        count = numbers.shape[0] if numbers.shape.rank == 1 else None
        one = (x.shape.rank or 0) > 1 and x.shape[-1] == 1 and x.dtype.is_floating
        if one and count is not None and 1 < count <= _MOST_COPIES:
            return tf.concat([x] * count, -1) + numbers
    return None


def _softmax(operation):
    """Make one operation of an exponential over its sum.

    In integers its parts are coarse, and a loss would not find the logits.
    """
    x, y = operation.inputs
    power, whole = as_computed(x).op, as_computed(y).op
    total = whole.inputs[0].op if whole.type == "Mul" else whole  # of an average, in 16 bits
    if power.type != "Exp" or total.type not in ("Sum", "Mean") or total.inputs[0] is not x:
        return None
    if not _over_last_axis(total) or y.shape[-1] != 1 or (total is whole) != (total.type == "Sum"):
        return None
    scores = power.inputs[0]
    if scores.op.type == "Sub":  # of their maximum, which changes nothing
        unshifted, shift = scores.op.inputs
        highest = shift.op.inputs[0].op if shift.op.type == "StopGradient" else shift.op
        if highest.type == "Max" and highest.inputs[0] is unshifted and _over_last_axis(highest):
            scores = unshifted
    return tf.nn.softmax(scores)


def _over_last_axis(operation) -> bool:
    """Tell whether an operation reduces the last axis alone, to one."""
    x, axes = operation.inputs
    axes, rank = tf.get_static_value(axes), len(x.shape)
    last = axes is not None and [axis % rank for axis in axes.ravel()] == [rank - 1]
    return last and operation.get_attr("keep_dims")


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
    """Compare indices with all classes."""
    indices, depth, on, off = operation.inputs
    depth = tf.get_static_value(depth)
    if depth is None or not on.dtype.is_floating:
        return None
    axis = operation.get_attr("axis")
    classes = tf.range(depth, dtype=indices.dtype)
    if axis != -1:
        classes = tf.reshape(classes, [-1] + [1] * (len(indices.shape) - axis))
    return tf.where(tf.equal(tf.expand_dims(indices, axis), classes), on, off)


def _counted(operation):
    """Compare indices with all classes, and add up what is found."""
    indices, count, weights = operation.inputs
    count, weighs = _known_count(count), weights.shape.num_elements() != 0
    if count is None or weighs or len(indices.shape) != 2:
        return None
    classes = tf.range(count, dtype=indices.dtype)
    one, zero = (tf.constant(number, weights.dtype) for number in (1, 0))
    found = tf.where(tf.equal(tf.expand_dims(indices, -1), classes), one, zero)
    reduce = tf.reduce_max if operation.get_attr("binary_output") else tf.reduce_sum
    return reduce(found, 1)


def _known_count(x):
    """Return a number of classes between two that are equal, as Keras says it; None for others."""
    if x.op.type != "Minimum" or x.op.inputs[1].op.type != "Maximum":
        return tf.get_static_value(x)
    most, least = (tf.get_static_value(y) for y in (x.op.inputs[0], x.op.inputs[1].op.inputs[0]))
    return most if most == least else None


def _bucket(operation):
    """Count the boundaries that numbers reach."""
    (x,) = operation.inputs
    boundaries = tf.constant(operation.get_attr("boundaries"), x.dtype)
    return tf.reduce_sum(tf.where(tf.expand_dims(x, -1) >= boundaries, 1, 0), -1)


def _unequal(operation):
    """Say it with comparisons that there are."""
    x, y = operation.inputs
    if x.dtype.is_floating:
        return tf.logical_or(x > y, x < y)
    zero = tf.get_static_value(y)
    # The quantizer for 16 bits takes a comparison of indices for one of activations.
    return tf.cast(x, tf.bool) if zero is not None and not zero.any() else None


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
    root = as_computed(x).op
    if root.type != "Rsqrt" or limit is None or limit.size != 1 or limit <= 0:
        return None
    return tf.math.rsqrt(tf.maximum(root.inputs[0], tf.cast(limit**-2.0, x.dtype)))


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
    """Tell whether a tensor is the smallest positive number."""
    value = tf.get_static_value(x)
    return value is not None and value.size == 1 and abs(value) == np.finfo(value.dtype).tiny


_ONE_BY_ONE = frozenset(
    {
        *("Abs", "AddV2", "Exp", "Identity", "LeakyRelu", "Maximum", "Minimum", "Mul", "Neg"),
        *("Relu", "Relu6", "Rsqrt", "Sigmoid", "Sqrt", "Square", "Sub", "Tanh"),
    }
)


def _difference(operation):
    """Negate what is taken from a constant behind a transposition: the converter swaps the two."""
    constant, x = operation.inputs
    value = tf.get_static_value(constant)
    if value is None or not x.dtype.is_floating:
        return None
    if value.size == 1 and not value.any():
        return x * -1.0
    return x * -1.0 + constant if _is_behind_transposition(x) else None


def _is_behind_transposition(x, depth=12):
    """Tell whether a tensor is made of a transposed one, number by number."""
    x = as_computed(x)
    if x.op.type == "Transpose":
        return True
    made = depth and x.op.type in _ONE_BY_ONE
    return bool(made) and any(_is_behind_transposition(y, depth - 1) for y in x.op.inputs)


def _of_reals(function):
    """Make a form for real numbers alone."""
    return lambda op: function(*op.inputs) if op.inputs[0].dtype.is_floating else None


def _einsum(operation):
    """Sum first over what one operand alone has: of the rest the converter makes products."""
    given, _, made = operation.get_attr("equation").decode().partition("->")
    terms = given.split(",")
    if "." in given or any(len({*term}) < len(term) for term in terms):
        return None
    left, summed = [], []
    for place, (x, term) in enumerate(zip(operation.inputs, terms, strict=True)):
        kept = {*made}.union(*terms[:place], *terms[place + 1 :])
        axes = [axis for axis, label in enumerate(term) if label not in kept]
        summed.append(tf.reduce_sum(x, axes) if axes else x)
        left.append("".join(label for label in term if label in kept))
    return None if left == terms else tf.einsum(f"{','.join(left)}->{made}", *summed)


# TFLite has none at all for these.
_UNKNOWN = {
    "ArgMax": _extreme(tf.argmax),
    "ArgMin": _extreme(tf.argmin),
    "AvgPool3D": _pooled_in_turns(tf.nn.avg_pool2d),
    "DenseBincount": _counted,
    "Einsum": _einsum,
    "MaxPool3D": _pooled_in_turns(tf.nn.max_pool2d),
}
FORMS = {
    **_UNKNOWN,
    "AddV2": _added,
    "Bucketize": _bucket,
    "Cast": _cast,
    "Cumsum": _cumulative_sum,
    "Elu": _of_reals(elu),
    "Expm1": _of_reals(lambda x: tf.exp(x) - 1.0),
    "Log1p": _of_reals(lambda x: tf.math.log(x + 1.0)),
    "Minimum": _without_far_limit,
    "Neg": _of_reals(lambda x: x * -1.0),
    "NotEqual": _unequal,
    "OneHot": _one_hot,
    # The converter folds it where the batch size is fixed.
    "OnesLike": _of_reals(lambda x: tf.fill(tf.shape(x), tf.cast(1.0, x.dtype))),
    "Pow": _power,
    "RealDiv": _divided,
    "Relu6": _of_reals(lambda x: tf.nn.relu(x) - tf.nn.relu(x - 6.0)),
    "SelectV2": _where_finite,
    "Selu": _of_reals(selu),
    "Sign": _of_reals(_signed),
    "Softplus": _of_reals(softplus),
    "Softsign": _of_reals(softsign),
    "Square": _of_reals(lambda x: x * x),
    "SquaredDifference": _of_reals(lambda x, y: (x - y) * (x - y)),
    "Sub": _difference,
    "Sum": _summed,
    "Tile": _tiled,
    "ZerosLike": _of_reals(lambda x: tf.fill(tf.shape(x), tf.cast(0.0, x.dtype))),
}

# What the converter or a kernel gets wrong, not just leaves in float.
_ALWAYS = {
    None: ("AddV2", "Sub", _LIMITED_ROOT),
    8: (
        *("AddV2", "Minimum", "OneHot", "OnesLike", "RealDiv", "SelectV2", "Sub", "Tile"),
        *("ZerosLike", _LIMITED_ROOT, _SOFTMAX, _WIDE_DIFFERENCE),
    ),
    16: (
        *("AddV2", "Minimum", "NotEqual", "OnesLike", "RealDiv", "SelectV2", "Square"),
        *("SquaredDifference", "Sub", "Sum", "Tile", "ZerosLike"),
        *(_L2_NORMALIZATION, _LIMITED_ROOT, _SOFTMAX),
    ),
}
_NEVER_NEEDED = ("SquaredDifference", "Sum")
# HARD_SWISH, which has no 16-bit kernel, is made of it.
_NEEDED_FOR_16_BITS = ("Relu6",)


def rewritings(bits: int | None, layers: Iterable[keras.Layer] = ()) -> tuple[tuple[str, ...], ...]:
    """List which operations to give another form beside activations of some bits; None for floats.

    First come those for any model, then those for models that the converter refuses, or of which
    some would stay in float. Beside a transposition the converter may not know a layer by its
    parts: at last these have forms, too, if the model has such ``layers``.
    """
    needed = _UNKNOWN if bits is None else FORMS
    left_out = _NEVER_NEEDED if bits == 16 else (*_NEVER_NEEDED, *_NEEDED_FOR_16_BITS)
    always = _ALWAYS[bits]
    further = tuple(sorted({*always, *needed}.difference(left_out) | {*always}))
    if bits is None or not any(isinstance(layer, _KNOWN_BY_PARTS) for layer in layers):
        return always, further
    return always, further, (*further, _PARTS)


def forms_for(kinds: Collection[str]) -> Callable[[object], Mapping[str, Callable]]:
    """Return which operations of a layer's call have another form."""
    known = _SCOPES_FOR_16_BITS if _L2_NORMALIZATION in kinds else _SCOPES
    chosen = {
        kind: functools.partial(_unless_known, known, FORMS[kind])
        for kind in kinds
        if kind not in (_L2_NORMALIZATION, _LIMITED_ROOT, _PARTS, _SOFTMAX, _WIDE_DIFFERENCE)
    }
    if _WIDE_DIFFERENCE in kinds:
        chosen.setdefault("SquaredDifference", _wide_difference)
    if _SOFTMAX in kinds:
        chosen["RealDiv"] = _first_form(_softmax, chosen.get("RealDiv"))
    if _LIMITED_ROOT in kinds:
        chosen["Minimum"] = _first_form(_limited_root, chosen.get("Minimum"))
    whole = () if _PARTS in kinds else _KNOWN_BY_PARTS
    return lambda layer: {} if isinstance(layer, whole) else chosen


def _wide_difference(operation):
    """Return the form of a squared difference of many axes."""
    wide = max(len(x.shape) for x in operation.inputs) > _MOST_AXES
    return FORMS["SquaredDifference"](operation) if wide else None


def _first_form(form, other):
    """Return a form, and for operations that it is not made for another one, if there is one."""

    def first(operation):
        made = form(operation)
        return made if made is not None or other is None else other(operation)

    return first


def _unless_known(known, form, operation):
    """Return an operation's form, None where the converter knows it as part of a function."""
    return None if known.search(operation.name) else form(operation)
