"""The arithmetic of quantization-aware training: round to the deployed grid, pass gradients on.

The grids are those of the LiteRT 8-bit quantization specification
(https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec): weights
symmetric around zero, in a narrow range, one scale per output channel or per tensor; activations
with a zero point, one scale per tensor. Gradients pass straight through inside the range and are
zero outside it (Jacob et al. 2018, https://arxiv.org/abs/1712.05877).
"""

import tensorflow as tf

SMALLEST_RANGE = 1e-6  # a narrower range has no usable scale in float32 arithmetic


def fake_quantize_weights(weights, bits=8, output_axes=None):
    """Round weights to a symmetric grid of 2**bits - 1 levels.

    Args:
        weights: float32 tensor of any shape.
        bits: number of bits, 2 to 8.
        output_axes: the consecutive axes that index output channels, each combination of which
            gets its own scale; ``None`` for one scale for the whole tensor.

    Returns:
        float32 tensor of the same shape: integer multiples of the scale max|w| / (2**(bits-1) - 1).
        All-zero channels stay zero.

    Example:
    >>> fake_quantize_weights(tf.constant([[1.0, -0.3]]), bits=2).numpy()
    array([[ 1., -0.]], dtype=float32)
    """
    if output_axes is None:
        limit = _limit(weights, None)
        return tf.quantization.fake_quant_with_min_max_vars(
            weights, -limit, limit, num_bits=bits, narrow_range=True
        )
    # The operation wants the channels on the last axis: bring them there, merge them, undo both.
    rank = len(weights.shape)
    others = [axis for axis in range(rank) if axis not in output_axes]
    order = [*others, *output_axes]
    moved = tf.transpose(weights, order) if order != list(range(rank)) else weights
    channels = tf.reshape(moved, [*moved.shape[: len(others)], -1])
    limit = _limit(channels, list(range(len(others))))
    rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        channels, -limit, limit, num_bits=bits, narrow_range=True
    )
    rounded = tf.reshape(rounded, moved.shape)
    inverse = [order.index(axis) for axis in range(rank)]
    return tf.transpose(rounded, inverse) if order != list(range(rank)) else rounded


def _limit(weights, axes):
    return tf.stop_gradient(tf.maximum(tf.reduce_max(tf.abs(weights), axis=axes), SMALLEST_RANGE))


def fake_quantize_activations(values, value_range, bits=8):
    """Round a tensor to an asymmetric grid of 2**bits levels that contains zero.

    Args:
        values: float tensor of any shape; computed in float32 and returned in its own dtype.
        value_range: float32 tensor [smallest, largest] with smallest <= 0 <= largest.
        bits: number of bits, 2 to 16.

    Returns:
        Tensor of the shape and dtype of ``values``, clipped to the range, which is moved by less
        than one step so that zero is on the grid.

    Example:
    >>> fake_quantize_activations(tf.constant([0.3, 9.0]), tf.constant([0.0, 3.0]), bits=2).numpy()
    array([0., 3.], dtype=float32)
    """
    smallest, largest = tf.unstack(tf.stop_gradient(value_range))
    rounded = tf.quantization.fake_quant_with_min_max_vars(
        tf.cast(values, tf.float32),
        smallest,
        tf.maximum(largest, smallest + SMALLEST_RANGE),
        num_bits=bits,
    )
    return tf.cast(rounded, values.dtype)


def observed_range(values):
    """Return the float32 tensor [min(x, 0), max(x, 0)] of a tensor.

    Args:
        values: float tensor of any shape.

    Returns:
        float32 tensor of shape (2,). Zero is always inside: padding and ReLU need it on the grid.
    """
    values = tf.stop_gradient(values)
    smallest = tf.minimum(tf.cast(tf.reduce_min(values), tf.float32), 0.0)
    largest = tf.maximum(tf.cast(tf.reduce_max(values), tf.float32), 0.0)
    return tf.stack([smallest, largest])


def wider_range(first, second):
    """Join two ranges, as tensors that share one scale need it.

    Args:
        first: float32 tensor (2,).
        second: float32 tensor (2,).

    Returns:
        float32 tensor (2,): the smaller beginning and the larger end.

    Example:
    >>> wider_range(tf.constant([-1.0, 2.0]), tf.constant([-3.0, 1.0])).numpy()
    array([-3.,  2.], dtype=float32)
    """
    return tf.stack([tf.minimum(first[0], second[0]), tf.maximum(first[1], second[1])])


def moving_range(previous, observed, momentum):
    """Average ranges over batches, starting from the first batch instead of a made-up range.

    Args:
        previous: float32 tensor (2,), the average so far; [0, 0] before the first batch.
        observed: float32 tensor (2,), the range of this batch.
        momentum: the weight of the average so far, 0 to 1.

    Returns:
        float32 tensor (2,).

    Example:
    >>> moving_range(tf.constant([0.0, 0.0]), tf.constant([-1.0, 2.0]), 0.9).numpy()
    array([-1.,  2.], dtype=float32)
    """
    started = tf.reduce_any(previous != 0.0)
    kept = tf.where(started, momentum, 0.0)
    return previous * kept + observed * (1.0 - kept)
