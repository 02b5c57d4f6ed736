"""BatchNormalization computed by TensorFlow's fused kernel.

On TensorFlow, Keras 3 composes BatchNormalization of single operations, each of which reads and
writes all activations. The fused kernel gives the same numbers to float rounding, in fewer passes
forwards and backwards. On other backends Keras's operation is as good.
"""

import sys
from typing import Any

import keras
from keras import ops

from tfcompress.backends import runs_on, traced
from tfcompress.keras_graph.inner_tensors import unwatched

_FUSED_TYPES = ("float32", "float16", "bfloat16")


@unwatched
def normalize_by_batch(layer, inputs, gamma, beta):
    """Normalize inputs by their own statistics, and move the layer's as Keras does.

    Args:
        layer: a BatchNormalization over the last axis.
        inputs: tensor (..., channels) of float32, float16 or bfloat16.
        gamma: float32 tensor (channels,), the scale.
        beta: float32 tensor (channels,), the shift.

    Returns:
        The outputs, of the inputs' shape and type.
    """
    if not runs_on("tensorflow"):
        return normalize_in_sight(layer, inputs, gamma, beta)[0]
    moving = layer.moving_mean, layer.moving_variance
    mean, variance = (ops.cast(each.value, "float32") for each in moving)
    # The kernel moves the statistics, by the unbiased variance where Keras takes the biased one.
    share = _biased_share(inputs)
    outputs, *moved = _fused(
        layer, inputs, gamma, beta, mean, variance / share, rate=1.0 - layer.momentum
    )
    layer.moving_mean.assign(moved[0])
    layer.moving_variance.assign(moved[1] * share)
    return outputs


@unwatched
def normalize_in_sight(layer, inputs, gamma, beta):
    """Do what ``normalize_by_batch`` does, and return the statistics of the batch as well.

    Returns:
        The outputs; the mean and the biased variance of the inputs, float32 tensors (channels,)
        without gradients: TensorFlow's kernel has none for them.
    """
    if runs_on("tensorflow"):
        nothing = ops.zeros((0,))
        outputs, mean, variance = _fused(layer, inputs, gamma, beta, nothing, nothing, rate=1.0)
        variance = variance * _biased_share(inputs)
    else:
        mean, variance = ops.moments(inputs, list(range(len(inputs.shape) - 1)))
        scaling = {"offset": beta, "scale": gamma, "epsilon": layer.epsilon}
        outputs = ops.batch_normalization(inputs, mean, variance, -1, **scaling)
        mean, variance = ops.stop_gradient(mean), ops.stop_gradient(variance)
    for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        before = ops.cast(moving.value, "float32")
        moving.assign(before * layer.momentum + value * (1.0 - layer.momentum))
    return outputs, mean, variance


def _biased_share(inputs):
    """Return the biased variance, of n inputs a channel, over the unbiased one."""
    return _all_but_one(ops.stop_gradient(inputs), ops.convert_to_tensor(float(inputs.shape[-1])))


@traced
def _all_but_one(inputs, channels):
    """Return 1 - 1 / n, of n inputs a channel. Any share of one is right: its variance is zero."""
    return ops.maximum(1.0 - channels / ops.cast(ops.size(inputs), "float32"), 0.5)


def has_fused_form(layer: keras.layers.BatchNormalization, inputs: Any, mask: Any) -> bool:
    """Tell whether the fused kernel computes what a BatchNormalization does with these inputs."""
    return (
        mask is None
        and ops.is_tensor(inputs)
        and getattr(inputs.shape, "rank", 0) is not None
        and inputs.shape[-1] is not None
        and layer.axis in (-1, len(inputs.shape) - 1)
        and not (layer.synchronized or getattr(layer, "renorm", False))
    )


def scale_and_shift(layer: keras.layers.BatchNormalization) -> tuple[Any, Any]:
    """Return gamma and beta of a BatchNormalization: float32 tensors (channels,)."""
    shape = layer.moving_mean.shape
    gamma = ops.cast(layer.gamma.value, "float32") if layer.scale else ops.ones(shape)
    beta = ops.cast(layer.beta.value, "float32") if layer.center else ops.zeros(shape)
    return gamma, beta


def fused_training(layer, call):
    """Return the ``call`` of a BatchNormalization, with the fused kernel where it trains."""

    def run(inputs, training=None, mask=None):
        if not (training and layer.trainable and _is_fused(layer, inputs, mask)):
            return call(inputs, training=training, mask=mask)
        outputs = normalize_by_batch(layer, inputs, *scale_and_shift(layer))
        return ops.cast(outputs, layer.compute_dtype)

    return run


def fused_inference(layer, call):
    """Return the ``call`` of a BatchNormalization, with the fused kernel where it does not train.

    TensorFlow merges it with a convolution before it. Its gradient costs more than Keras's.
    """

    def run(inputs, training=None, mask=None):
        if (training and layer.trainable) or not _is_fused(layer, inputs, mask):
            return call(inputs, training=training, mask=mask)
        gamma, beta = scale_and_shift(layer)
        statistics = (layer.moving_mean.value, layer.moving_variance.value)
        mean, variance = (ops.cast(value, "float32") for value in statistics)
        outputs, *_ = _fused(layer, inputs, gamma, beta, mean, variance)
        return ops.cast(outputs, layer.compute_dtype)

    return run


def _is_fused(layer, inputs, mask):
    """Tell whether the fused kernel takes the inputs as they are."""
    return has_fused_form(layer, inputs, mask) and inputs.dtype.name in _FUSED_TYPES


def _fused(layer, inputs, gamma, beta, mean, variance, rate=None):
    """Run the kernel, which takes four dimensions; return outputs, mean and variance.

    They are those of the batch where it trains, at a rate of 1; at another, those given move there.
    """
    tf = sys.modules["tensorflow"]
    are_images = len(inputs.shape) == 4
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs if are_images else tf.reshape(inputs, [-1, 1, 1, inputs.shape[-1]]),
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=layer.epsilon,
        exponential_avg_factor=1.0 if rate is None else rate,
        is_training=rate is not None,
    )
    return outputs if are_images else tf.reshape(outputs, tf.shape(inputs)), mean, variance
