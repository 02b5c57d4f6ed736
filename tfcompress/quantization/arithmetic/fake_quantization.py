"""The arithmetic of quantization-aware training: round to the deployed grid, pass gradients on.

The grids are those of the LiteRT 8-bit quantization specification
(https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec): weights
symmetric around zero, in a narrow range, one scale per output channel or per tensor; activations
with a zero point, one scale per tensor. Gradients pass straight through inside the range and are
zero outside it (Jacob et al. 2018, https://arxiv.org/abs/1712.05877).
"""

import tensorflow as tf

# With a tiny scale a bias does not fit into 32 bits: what is always zero, or almost, is given a
# wider range instead. TFLite aborts where an addition reads a scale 2**19 times that of its result.
SMALLEST_RANGE = 1e-6
RANGE_OF_ZEROS = 0.25

_LARGEST_HALF = 65504.0


def fake_quantize_weights(weights, bits=8, output_axes=None, limit=None):
    """Round weights to a symmetric grid of 2**bits - 1 levels.

    Args:
        weights: float32 tensor of any shape.
        bits: number of bits, 2 to 8.
        output_axes: the consecutive axes that index output channels, each combination of which
            gets its own scale; ``None`` for one scale for the whole tensor.
        limit: the largest weight of each channel, of the shape of the output axes, or of the tensor
            if there are none. That of ``weights`` when not given.

    Returns:
        float32 tensor of the same shape: integer multiples of the scale limit / (2**(bits-1) - 1).
        All-zero channels stay zero.

    Example:
    >>> fake_quantize_weights(tf.constant([[1.0, -0.3]]), bits=2).numpy()
    array([[1., 0.]], dtype=float32)
    """
    if limit is None:
        # No weight is larger, so that none is clipped and every gradient passes.
        limit = weight_limit(weights, output_axes)
        return _rounded_all_in_range(weights, limit, bits, output_axes)
    return _clipped_and_rounded(weights, limit, bits, output_axes)


def _rounded_all_in_range(weights, limit, bits, output_axes):
    @tf.custom_gradient
    def rounded(x):
        return _clipped_and_rounded(x, limit, bits, output_axes), lambda upstream: upstream

    return rounded(weights)


def _clipped_and_rounded(weights, limit, bits, output_axes):
    if output_axes is None:
        return tf.quantization.fake_quant_with_min_max_vars(
            weights, -limit, limit, num_bits=bits, narrow_range=True
        )
    # The operation wants the channels on the last axis: bring them there, merge them, undo both.
    rank = len(weights.shape)
    others = [axis for axis in range(rank) if axis not in output_axes]
    order = [*others, *output_axes]
    moved = tf.transpose(weights, order) if order != list(range(rank)) else weights
    channels = tf.reshape(moved, [*moved.shape[: len(others)], -1])
    limit = tf.reshape(limit, [-1])
    rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        channels, -limit, limit, num_bits=bits, narrow_range=True
    )
    rounded = tf.reshape(rounded, moved.shape)
    inverse = [order.index(axis) for axis in range(rank)]
    return tf.transpose(rounded, inverse) if order != list(range(rank)) else rounded


def weight_limit(weights, output_axes=None):
    """Return the largest magnitude of each channel, which its scale is made of.

    Args:
        weights: float32 tensor of any shape.
        output_axes: see ``fake_quantize_weights``.

    Returns:
        float32 tensor of the shape of the output axes; a scalar if there are none.
        ``RANGE_OF_ZEROS`` where all weights are zero. No gradient passes.
    """
    others = [axis for axis in range(len(weights.shape)) if axis not in (output_axes or ())]
    limit = tf.stop_gradient(tf.reduce_max(tf.abs(weights), axis=others))
    return tf.where(limit < SMALLEST_RANGE, RANGE_OF_ZEROS, limit)


def round_to_half(weights):
    """Round weights to half precision, in which they are stored.

    Args:
        weights: float32 tensor of any shape.

    Returns:
        float32 tensor of the same shape. Gradients pass straight through, in float32.

    Example:
    >>> round_to_half(tf.constant([1.0001, 1.001])).numpy()
    array([1.       , 1.0009766], dtype=float32)
    """
    clipped = tf.clip_by_value(weights, -_LARGEST_HALF, _LARGEST_HALF)
    return _straight_through(weights, tf.cast(tf.cast(clipped, tf.float16), tf.float32))


def round_constant(values):
    """Round an operand that is no kernel, such as a scale per channel, as the converter stores it.

    Args:
        values: float tensor of any shape.

    Returns:
        Tensor of the shape and dtype of ``values``, on a grid of 256 levels from the smallest to
        the largest value, and zero. Gradients pass straight through.

    Example:
    >>> round_constant(tf.constant([0.0, 0.101, 2.55])).numpy().round(3)
    array([0.  , 0.1 , 2.55], dtype=float32)
    """
    values32 = tf.cast(values, tf.float32)
    smallest, largest = tf.reduce_min(values32), tf.reduce_max(values32)
    ends = tf.stack([tf.minimum(smallest, 0.0), tf.maximum(largest, 0.0)])
    return _straight_through(values, fake_quantize_activations(values, ends))


@tf.custom_gradient
def _straight_through(values, rounded):
    return tf.identity(rounded), lambda upstream: (upstream, None)


def fake_quantize_activations(values, value_range, bits=8, symmetric=False):
    """Round a tensor to a grid of 2**bits levels that contains zero.

    Args:
        values: float tensor of any shape; computed in float32 and returned in its own dtype.
        value_range: float32 tensor [smallest, largest] with smallest <= 0 <= largest.
        bits: number of bits, 2 to 16.
        symmetric: whether the zero point is 0; one level less then.

    Returns:
        Tensor of the shape and dtype of ``values``, clipped to the range, which is moved by less
        than one step so that zero is on the grid, or widened to be symmetric.

    Example:
    >>> fake_quantize_activations(tf.constant([0.3, 9.0]), tf.constant([0.0, 3.0]), bits=2).numpy()
    array([0., 3.], dtype=float32)
    """
    smallest, largest = usable_range(*tf.unstack(tf.stop_gradient(value_range)), symmetric)
    rounded = tf.quantization.fake_quant_with_min_max_vars(
        tf.cast(values, tf.float32), smallest, largest, num_bits=bits, narrow_range=symmetric
    )
    return tf.cast(rounded, values.dtype)


def fake_quantize_activations_outside_xla(values, value_range, bits=8, symmetric=False):
    """Do what ``fake_quantize_activations`` does, with a gradient at half the cost.

    The gradient of fake quantization sums up one for the range as well, in two more passes over the
    tensor. Here it is that of the values alone, by an operation that XLA does not know.

    Args:
        values: see ``fake_quantize_activations``.
        value_range: likewise.
        bits: likewise.
        symmetric: likewise.

    Returns:
        The same tensor; its gradient differs for values less than a step outside the range alone.
    """
    smallest, largest = usable_range(*tf.unstack(tf.stop_gradient(value_range)), symmetric)

    @tf.custom_gradient
    def rounded(x):
        def gradient(upstream):
            return tf.raw_ops.QuantizeAndDequantizeV4Grad(
                gradients=upstream, input=x, input_min=smallest, input_max=largest
            )[0]

        return tf.quantization.fake_quant_with_min_max_vars(
            x, smallest, largest, num_bits=bits, narrow_range=symmetric
        ), gradient

    return tf.cast(rounded(tf.cast(values, tf.float32)), values.dtype)


def grid_levels(smallest, largest, bits, symmetric):
    """Describe the grid that ``fake_quantize_activations`` makes of a range.

    Args:
        smallest: float32 tensor, at most 0.
        largest: float32 tensor of the same shape, at least 0.
        bits: number of bits.
        symmetric: whether the zero point is 0.

    Returns:
        (lowest, highest, step): the first and the last multiple of the step that is on the grid,
        and the step; float32 tensors.

    Example:
    >>> levels = grid_levels(tf.constant(-1.0), tf.constant(1.55), 8, symmetric=False)
    >>> [round(float(level), 6) for level in levels]
    [-100.0, 155.0, 0.01]
    """
    smallest, largest = usable_range(smallest, largest, symmetric)
    levels = 2.0**bits - (2.0 if symmetric else 1.0)
    step = (largest - smallest) / levels
    lowest = tf.round(smallest / step)
    return lowest, lowest + levels, step


def usable_range(smallest, largest, symmetric):
    """Make a range symmetric if it has to be, and one that grids can be made of."""
    if symmetric:
        limit = tf.maximum(-smallest, largest)
        limit = tf.where(limit < SMALLEST_RANGE, RANGE_OF_ZEROS, limit)
        return -limit, limit
    return smallest, tf.where(largest - smallest < SMALLEST_RANGE, RANGE_OF_ZEROS, largest)
