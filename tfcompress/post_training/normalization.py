"""Statistics of batch normalizations, taken anew after what comes before them was changed."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl

from tfcompress.keras_graph.channels import read_channels, rebuild
from tfcompress.keras_graph.interception import VariableSwap, intercepted_calls
from tfcompress.keras_graph.selection import walk_layers
from tfcompress.post_training.sample_data import sample_batches
from tfcompress.quantization.weights import require_finite_weights


def reestimate_batch_normalization(
    model: keras.Model, representative_data, *, most: int = 1024
) -> keras.Model:
    """Copy a model with the means and variances that its batch normalizations meet on data.

    After pruning, clustering or the removal of channels, what enters a BatchNormalization is no
    longer what its moving statistics say; taking them anew brings much of the accuracy back before,
    or without, any training. While they are taken, each batch is normalized by its own statistics,
    as in training; those of all batches are put together exactly, so that neither their number nor
    the momentum of the layers matters.

    Args:
        model: a built Functional or Sequential model; nested ones inside count. It is left as it
            is.
        representative_data: some hundred inputs like those in use, whatever ``fit`` takes; labels
            are not needed.
        most: how many of them are used at most.

    Returns:
        A model with weights of its own; not compiled.

    Raises:
        TypeError: ``representative_data`` is of no kind that ``fit`` takes.
        ValueError: the model is subclassed, not built, or has weights that are NaN, or has no
            BatchNormalization; or there is no data, or it does not fit or is not finite.

    Example:
    >>> smaller = tfc.remove_channels(model, target_macs=0.5)
    >>> smaller = tfc.reestimate_batch_normalization(smaller, x_train[:500])

    Method: Li et al., "EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning",
    2020, https://arxiv.org/abs/2007.02491.
    """
    copy = rebuild(model, read_channels(model))
    require_finite_weights(copy)
    norms = [layer for _, layer in walk_layers(copy) if type(layer) is kl.BatchNormalization]
    if not norms:
        raise ValueError(
            f"Model {model.name!r} has no BatchNormalization whose statistics could be taken. "
            "Received: a model without one"
        )
    sums = {id(norm): _Sums() for norm in norms}

    def wrap(norm, call):
        def run(inputs, *args, **kwargs):
            mean, variance = sums[id(norm)].add(inputs, norm.axis)
            swaps = [(norm.moving_mean, mean), (norm.moving_variance, variance)]
            with VariableSwap(swaps):
                return call(inputs, *args, **kwargs)

        return run

    batches = sample_batches(copy, representative_data, most)
    with intercepted_calls(norms, wrap):
        for batch in batches:
            copy(batch, training=False)
    for norm in norms:
        mean, variance = sums[id(norm)].statistics()
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(variance)
    return copy


@dataclasses.dataclass
class _Sums:
    """Sums over all that has entered a normalization, in float64."""

    count: int = 0
    first: np.ndarray | float = 0.0
    second: np.ndarray | float = 0.0

    def add(self, inputs, axis: int):
        """Take in a batch, and return its own mean and variance as float32 tensors."""
        x = tf.cast(inputs, tf.float64)
        axes = [other for other in range(len(x.shape)) if other != axis % len(x.shape)]
        mean, variance = tf.nn.moments(x, axes)
        count = int(tf.size(x)) // mean.shape[0]
        self.count += count
        self.first = self.first + count * mean.numpy()
        self.second = self.second + count * (variance + mean**2).numpy()
        return tf.cast(mean, tf.float32), tf.cast(variance, tf.float32)

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the variance of all that was taken in."""
        mean = self.first / self.count
        return mean, np.maximum(self.second / self.count - mean**2, 0.0)
