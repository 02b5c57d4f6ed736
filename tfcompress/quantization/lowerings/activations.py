"""Forms of activation functions, in ``keras.ops``: ``made`` is offered what they store inside.

On TensorFlow the graph shows that itself, so the functions that it computes in steps as they are
need a form on other backends alone, see ``graph_roles``.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import keras
from keras import layers as kl
from keras import ops

from tfcompress.backends import runs_on
from tfcompress.compat.keras_attributes import get_untracked, replaced_attributes
from tfcompress.compat.keras_layers import is_stock
from tfcompress.keras_graph.inner_tensors import graph_roles

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _unseen(kind, tensor, **how):
    """Offer a tensor to nobody."""
    del kind, how
    return tensor


def elu(x, alpha=1.0, made=_unseen):
    """Compute keras.activations.elu from an exponential of what is negative."""
    line = made("Relu", ops.relu(x))
    below = made("Exp", ops.exp(made("Minimum", ops.minimum(x, 0.0))))
    below = made("Mul", alpha * made("Sub", below - 1.0))
    return made("Add", line + below)


def selu(x, made=_unseen):
    """Compute keras.activations.selu, likewise."""
    return _SELU_SCALE * elu(x, _SELU_ALPHA, made)


def softplus(x, made=_unseen):
    """Compute keras.activations.softplus as a line and the logarithm of a sigmoid in [1/2, 1)."""
    line = made("Relu", ops.relu(x))
    upper = made("Sigmoid", ops.sigmoid(made("Abs", ops.abs(x))))
    return made("Sub", line - made("Log", ops.log(upper), of=upper))


def mish(x, made=_unseen):
    """Compute keras.activations.mish with that softplus."""
    return x * made("Tanh", ops.tanh(softplus(x, made)))


def softsign(x, made=_unseen):
    """Compute keras.activations.softsign in steps."""
    return x / made("Add", 1.0 + made("Abs", ops.abs(x)))


def silu(x, made=_unseen):
    """Compute keras.activations.silu in the steps of TensorFlow's function."""
    x = made("Mul", x)  # with beta, which is 1
    return made("Mul", x * made("Sigmoid", ops.sigmoid(x)))


def hard_sigmoid(x, made=_unseen):
    """Compute keras.activations.hard_sigmoid in steps."""
    return made("Relu6", ops.relu6(made("Add", x + 3.0))) / 6.0


# The integer kernels follow none of these as TensorFlow computes them.
LOWERED = {
    keras.activations.elu: elu,
    keras.activations.mish: mish,
    keras.activations.selu: selu,
    keras.activations.softplus: softplus,
    keras.activations.softsign: softsign,
}
_IN_STEPS = {keras.activations.silu: silu, keras.activations.hard_sigmoid: hard_sigmoid}
_OPERATIONS = {"HardSigmoid": hard_sigmoid, "Silu": silu}  # in Functional models
# What makes the sum that an activation reads, where no bias is added to it.
_SUMS = {
    kl.Conv1D: "Conv2D",
    kl.Conv2D: "Conv2D",
    kl.Conv2DTranspose: "Conv2DBackpropInput",
    kl.Dense: "MatMul",
    kl.DepthwiseConv2D: "DepthwiseConv2dNative",
    kl.SeparableConv1D: "Conv2D",
    kl.SeparableConv2D: "Conv2D",
}


def call_within(context: Callable[[], AbstractContextManager], call: Callable) -> Callable:
    """Return a layer's call that runs in a context, which is made anew each time."""

    def run(*args, **kwargs):
        with context():
            return call(*args, **kwargs)

    return run


def integer_activation(layer, call, tap):
    """Return a layer's call with its activation function in a form for integers."""
    function = get_untracked(layer, "activation")
    if function in LOWERED:
        form, read = LOWERED[function], _sum_of(layer)
    elif runs_on("tensorflow"):
        return call
    elif function in _IN_STEPS:
        form, read = _IN_STEPS[function], None
    elif is_stock(layer) and type(layer).__name__ in _OPERATIONS:
        operation = _OPERATIONS[type(layer).__name__]
        return lambda x: operation(x, made=graph_roles(tap))
    else:
        return call

    def activation(x):
        made = graph_roles(tap)
        if function in _IN_STEPS:
            x = tap("preactivation", x)
        elif read is not None:
            x = made(read, x)
        return form(x, made=made)

    return call_within(lambda: replaced_attributes(layer, activation=activation), call)


def _sum_of(layer):
    """Return the type of the operation that makes what a layer's activation reads; None of none."""
    return "Add" if getattr(layer, "use_bias", False) else _SUMS.get(type(layer))


def _elu_layer(layer, call, tap):
    """Compute the layer ELU."""
    del call
    return lambda inputs: elu(inputs, layer.alpha, graph_roles(tap))


FORMS = {kl.ELU: _elu_layer}
