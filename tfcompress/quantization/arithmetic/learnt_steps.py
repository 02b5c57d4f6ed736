"""Step sizes that are trained with the weights (LSQ).

Esser et al., "Learned Step Size Quantization", ICLR 2020, https://arxiv.org/abs/1902.08153: a
value v becomes s * clip(round(v / s), lowest, highest), and the loss is minimised over s as well.
"""

import tensorflow as tf

SMALLEST_STEP = 1e-8


def quantize_with_learnt_step(values, step, lowest, highest, count):
    """Round to multiples of a step that receives a gradient.

    Args:
        values: float tensor of any shape; computed in float32 and returned in its own dtype.
        step: float32 tensor that broadcasts to ``values``: one step, or one per channel.
        lowest: the smallest multiple on the grid, a number or a scalar tensor.
        highest: the largest, at least 1.
        count: how many values share a step, in one example if they are activations.

    Returns:
        Tensor of the shape and dtype of ``values``. Its gradient in ``values`` passes straight
        through inside the grid and is zero outside. Its gradient in ``step`` is that of equation 3
        of the paper: round(v/s) - v/s inside, ``lowest`` or ``highest`` outside, times
        1 / sqrt(count * highest).

    Example:
    >>> quantize_with_learnt_step(tf.constant([0.26, 9.0]), tf.constant(0.1), -128, 127, 2).numpy()
    array([0.3, 9. ], dtype=float32)
    """
    scale = tf.math.rsqrt(tf.cast(count, tf.float32) * tf.cast(highest, tf.float32))

    @tf.custom_gradient
    def rounded(exact, step):
        ratio = exact / step
        integers = tf.clip_by_value(tf.round(ratio), lowest, highest)

        def gradient(upstream):
            inside = (ratio >= lowest) & (ratio <= highest)
            per_value = upstream * tf.where(inside, integers - ratio, integers)
            return tf.where(inside, upstream, 0.0), scale * _summed_to(per_value, step.shape)

        return integers * step, gradient

    return tf.cast(rounded(tf.cast(values, tf.float32), step), values.dtype)


def usable_step(step):
    """Return a trained step, kept above zero: an optimizer's update may have overshot."""
    return tf.maximum(step, SMALLEST_STEP)


def _summed_to(values, shape):
    """Undo a broadcast: sum over the axes that the shape lacks, or has one entry along."""
    missing = len(values.shape) - len(shape)
    values = tf.reduce_sum(values, axis=list(range(missing)))
    single = [axis for axis, size in enumerate(shape) if size == 1]
    return tf.reduce_sum(values, axis=single, keepdims=True) if single else values
