"""Activation functions without integer kernels, made of operations that have some."""

import keras
import tensorflow as tf
from keras import layers as kl

from tfcompress.compat.keras_attributes import get_untracked, replaced_attributes

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def elu(x, alpha=1.0):
    """Compute keras.activations.elu from an exponential of what is negative."""
    return tf.nn.relu(x) + alpha * (tf.exp(tf.minimum(x, 0.0)) - 1.0)


def selu(x):
    """Compute keras.activations.selu, likewise."""
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


def softplus(x):
    """Compute keras.activations.softplus as a line and the logarithm of a sigmoid in [1/2, 1)."""
    return tf.nn.relu(x) - tf.math.log(tf.sigmoid(tf.abs(x)))


def mish(x):
    """Compute keras.activations.mish with that softplus."""
    return x * tf.tanh(softplus(x))


def softsign(x):
    """Compute keras.activations.softsign in steps."""
    return x / (1.0 + tf.abs(x))


_FUNCTIONS = {
    keras.activations.elu: elu,
    keras.activations.mish: mish,
    keras.activations.selu: selu,
    keras.activations.softplus: softplus,
    keras.activations.softsign: softsign,
}


def integer_activation(layer, call):
    """Return a layer's call with its activation function in a form for integers."""
    form = _FUNCTIONS.get(get_untracked(layer, "activation"))
    if form is None:
        return call

    def run(*args, **kwargs):
        with replaced_attributes(layer, activation=form):
            return call(*args, **kwargs)

    return run


def elu_layer(layer, call, tap):
    """Compute the layer ELU."""
    del call, tap
    return lambda inputs: elu(inputs, layer.alpha)


FORMS = {kl.ELU: elu_layer}
