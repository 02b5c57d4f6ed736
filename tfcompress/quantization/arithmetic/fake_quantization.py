"""The arithmetic of quantization-aware training: round to the deployed grid, pass gradients on.

The grids are those of the LiteRT 8-bit quantization specification
(https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec): weights
symmetric around zero, in a narrow range, one scale per output channel or per tensor; activations
with a zero point, one scale per tensor. Gradients pass straight through inside the range and are
zero outside it (Jacob et al. 2018, https://arxiv.org/abs/1712.05877).

Step sizes can be trained with the weights (LSQ; Esser et al., "Learned Step Size Quantization",
ICLR 2020, https://arxiv.org/abs/1902.08153): a value v becomes s * clip(round(v / s), lowest,
highest), and the loss is minimised over s as well.
"""

import sys

import numpy as np
from keras import ops

from tfcompress.backends import graph_operation, runs_on, traced, with_gradient
from tfcompress.tflite.numerics import RANGE_OF_ZEROS, SMALLEST_RANGE

DIVISOR_FLOOR = 1e-30  # a constant that rounds to one step above zero

_LARGEST_HALF = 65504.0
_SMALLEST_STEP = 1e-8
_SMALLEST_POSITIVE = np.finfo(np.float32).tiny
_RECTIFIERS = {"Relu": np.float32(np.inf), "Relu6": np.float32(6.0)}


def fake_quantize_weights(weights, bits=8, output_axes=None, limit=None):
    """Round weights to a symmetric grid of 2**bits - 1 levels.

    Each combination of indices along ``output_axes`` has a scale, made of its ``limit`` or of its
    largest weight; without axes there is one. Zeros stay zeros.

    Example:
    >>> fake_quantize_weights(tf.constant([[1.0, -0.3]]), bits=2).numpy()
    array([[ 1., -0.]], dtype=float32)
    """
    if limit is None:
        # No weight is larger, so that none is clipped and every gradient passes.
        return round_weights(weights, weight_limit(weights, output_axes), bits, output_axes)
    limit = _along(output_axes, ops.stop_gradient(limit), weights.shape)
    return round_weights(ops.clip(weights, -limit, limit), limit, bits, output_axes)


def round_weights(weights, limit, bits, output_axes=None):
    """Round weights, none of which is above its limit, to the grid that is made of it.

    Not by TensorFlow's operation, which goes over the tensor once for each channel.
    """
    step = _along(output_axes, limit, weights.shape) / (2.0 ** (bits - 1) - 1.0)
    return straight_through(weights, _multiples(ops.stop_gradient(weights), step))


@traced
def _multiples(values, step):
    """Return the multiples of a step that are nearest to values."""
    return ops.round(values / step) * step


def _along(axes, limit, shape):
    """Bring the limits of the combinations of indices along some axes beside the weights."""
    axes = axes or ()
    return ops.reshape(limit, [size if axis in axes else 1 for axis, size in enumerate(shape)])


def weight_limit(weights, output_axes=None):
    """Return the largest magnitude of each channel, which its scale is made of."""
    others = [axis for axis in range(len(weights.shape)) if axis not in (output_axes or ())]
    return _largest_magnitude(ops.stop_gradient(weights), others)


@traced
def _largest_magnitude(weights, axes):
    """Return the largest magnitude along some axes, or what stands for next to none."""
    limit = ops.max(ops.abs(weights), axis=axes)
    return ops.where(limit < SMALLEST_RANGE, RANGE_OF_ZEROS, limit)


def round_to_half(weights):
    """Round weights to half precision, in which they are stored.

    Example:
    >>> round_to_half(tf.constant([1.0001, 1.001])).numpy()
    array([1.       , 1.0009766], dtype=float32)
    """
    clipped = ops.clip(weights, -_LARGEST_HALF, _LARGEST_HALF)
    return straight_through(weights, ops.cast(ops.cast(clipped, "float16"), "float32"))


def round_constant(values):
    """Round an operand that is no kernel, such as a scale per channel, as the converter stores it.

    Example:
    >>> round_constant(tf.constant([0.0, 0.101, 2.55])).numpy().round(3)
    array([0.  , 0.1 , 2.55], dtype=float32)
    """
    values32 = ops.cast(values, "float32")
    smallest, largest = ops.min(values32), ops.max(values32)
    ends = ops.stack([ops.minimum(smallest, 0.0), ops.maximum(largest, 0.0)])
    return straight_through(values, fake_quantize_activations(values, ends))


def straight_through(values, rounded):
    """Return rounded values whose gradient is that of the values."""
    rounded = ops.stop_gradient(rounded)
    return with_gradient(lambda exact: (rounded, lambda upstream: upstream))(values)


def fake_quantize_activations(values, value_range, bits=8, symmetric=False):
    """Round a tensor to a grid of 2**bits levels, one less if symmetric, that contains zero.

    It is clipped to ``value_range``, float32 (2,), moved by less than a step so that zero is on the
    grid, or widened to be symmetric.

    Example:
    >>> fake_quantize_activations(tf.constant([0.3, 9.0]), tf.constant([0.0, 3.0]), bits=2).numpy()
    array([0., 3.], dtype=float32)
    """
    smallest, largest = _usable_ends(value_range, symmetric)
    exact = ops.cast(values, "float32")
    if runs_on("tensorflow"):
        rounded = _rounded_by_tensorflow(exact, smallest, largest, bits, symmetric)
    else:
        rounded = rounded_to_range(exact, smallest, largest, bits, symmetric)
    return ops.cast(rounded, values.dtype)


def _usable_ends(value_range, symmetric):
    """Return the ends of a range that a grid is made of, which get no gradient."""
    ends = ops.stop_gradient(ops.convert_to_tensor(value_range, "float32"))
    return _usable_ends_of(ends, symmetric)


@traced
def _usable_ends_of(ends, symmetric):
    """Return the two ends of a range as ``usable_range`` has them."""
    return usable_range(*ops.unstack(ends, 2), symmetric)


def _rounded_by_tensorflow(values, smallest, largest, bits, symmetric):
    """Round by TensorFlow's operation: one pass over the values."""
    return sys.modules["tensorflow"].quantization.fake_quant_with_min_max_vars(
        values, smallest, largest, num_bits=bits, narrow_range=symmetric
    )


def rounded_to_range(values, smallest, largest, bits, symmetric):
    """Compute what TensorFlow's operation does, gradient included: to the bit, up to 8 bits.

    The values are float32. Halves are rounded up, not to even as elsewhere
    (tensorflow/core/kernels/fake_quant_ops_functor.h).
    """
    first, levels = float(symmetric), 2.0**bits - 1.0 - symmetric
    step, steps_of_one = (largest - smallest) / levels, levels / (largest - smallest)
    zero = ops.clip(ops.floor(first - smallest / step + 0.5), first, first + levels)
    lowest, highest = (first - zero) * step, (first + levels - zero) * step
    integer_zero = ops.floor(-lowest * steps_of_one + 0.5)

    def rounded(exact):
        above = ops.clip(exact, lowest, highest) - lowest
        integers = ops.floor(above * steps_of_one - integer_zero + 0.5)
        inside = ops.logical_and(exact >= lowest, exact <= highest)
        return integers * step, lambda upstream: ops.where(inside, upstream, 0.0)

    return with_gradient(rounded)(values)


def behind_rectifier(values):
    """Return what a rectifier made a tensor of in a graph, and its largest value; None for others.

    All that it makes of numbers outside [0, largest value] are the two ends.
    """
    operation = graph_operation(values)
    if operation is None or operation.type not in _RECTIFIERS:
        return None
    return operation.inputs[0], _RECTIFIERS[operation.type]


def fake_quantize_activations_outside_xla(
    values, value_range, bits=8, symmetric=False, rectifies=False
):
    """Do what ``fake_quantize_activations`` does, with a gradient at half the cost.

    The gradient of fake quantization sums up one for the range as well, in two more passes over the
    tensor. Here it is that of the values alone, by an operation that XLA does not know. Behind a
    rectifier, the same pass stops what that stops: the gradient is one in the rectifier's input.

    ``rectifies`` tells that the range lies within that of the rectifier and begins at zero: then
    its input is rounded to the same numbers, and TensorFlow leaves the rectifier out.
    """
    smallest, largest = _usable_ends(value_range, symmetric)
    source, lowest, highest = values, smallest, largest
    behind = behind_rectifier(values)
    if behind is not None:
        source, limit = behind
        lowest, highest = _SMALLEST_POSITIVE, largest
        if np.isfinite(limit):
            highest = ops.minimum(largest, np.nextafter(limit, np.float32(0.0)))
    exact = ops.stop_gradient(ops.cast(source if rectifies else values, "float32"))

    def rounded(x):
        def gradient(upstream):
            return sys.modules["tensorflow"].raw_ops.QuantizeAndDequantizeV4Grad(
                gradients=upstream, input=x, input_min=lowest, input_max=highest
            )[0]

        return _rounded_by_tensorflow(exact, smallest, largest, bits, symmetric), gradient

    return ops.cast(with_gradient(rounded)(ops.cast(source, "float32")), values.dtype)


def grid_levels(smallest, largest, bits, symmetric):
    """Describe the grid that ``fake_quantize_activations`` makes of a range.

    Returns the first and the last multiple of the step that is on it, and the step.

    Example:
    >>> levels = grid_levels(tf.constant(-1.0), tf.constant(1.55), 8, symmetric=False)
    >>> [round(float(level), 6) for level in levels]
    [-100.0, 155.0, 0.01]
    """
    smallest, largest = usable_range(smallest, largest, symmetric)
    levels = 2.0**bits - (2.0 if symmetric else 1.0)
    step = (largest - smallest) / levels
    lowest = ops.round(smallest / step)
    return lowest, lowest + levels, step


def usable_range(smallest, largest, symmetric):
    """Make a range symmetric if it has to be, and one that grids can be made of."""
    if symmetric:
        limit = ops.maximum(-smallest, largest)
        limit = ops.where(limit < SMALLEST_RANGE, RANGE_OF_ZEROS, limit)
        return -limit, limit
    return smallest, ops.where(largest - smallest < SMALLEST_RANGE, RANGE_OF_ZEROS, largest)


def quantize_with_learned_step(values, step, lowest, highest, count):
    """Round to multiples of a step that receives a gradient; ``count`` values share it.

    The gradient in ``values`` passes straight through inside the grid and is zero outside. That in
    ``step`` is equation 3 of the paper: round(v/s) - v/s inside, ``lowest`` or ``highest`` outside,
    times 1 / sqrt(count * the larger of both): of what is never positive, ``highest`` is 0.

    Example:
    >>> quantize_with_learned_step(tf.constant([0.26, 9.0]), tf.constant(0.1), -128, 127, 2).numpy()
    array([0.3, 9. ], dtype=float32)
    """
    count, lowest, highest = (
        ops.convert_to_tensor(number, "float32") for number in (count, lowest, highest)
    )
    scale = ops.rsqrt(count * ops.maximum(-lowest, highest))

    def rounded(exact, step):
        ratio = exact / step
        integers = ops.clip(ops.round(ratio), lowest, highest)

        def gradient(upstream):
            inside = ops.logical_and(ratio >= lowest, ratio <= highest)
            per_value = upstream * ops.where(inside, integers - ratio, integers)
            return ops.where(inside, upstream, 0.0), scale * _summed_to(per_value, step.shape)

        return integers * step, gradient

    return ops.cast(with_gradient(rounded)(ops.cast(values, "float32"), step), values.dtype)


def usable_step(step, start):
    """Return a trained step, kept above a 16th of one that clips nothing.

    An optimizer's update may have overshot: Adam moves a step by the learning rate, however small
    it is. The gradient passes, so that the step can come back.

    Example:
    >>> usable_step(tf.constant([0.5, 0.01, -1.0]), 0.8).numpy()
    array([0.5 , 0.05, 0.05], dtype=float32)
    """
    least = ops.maximum(ops.stop_gradient(start) / 16.0, _SMALLEST_STEP)
    return ops.where(step < least, least + (step - ops.stop_gradient(step)), step)


def _summed_to(values, shape):
    """Undo a broadcast: sum over the axes that the shape lacks, or has one entry along."""
    missing = len(values.shape) - len(shape)
    if missing:
        values = ops.sum(values, axis=tuple(range(missing)))
    single = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return ops.sum(values, axis=single, keepdims=True) if single else values
