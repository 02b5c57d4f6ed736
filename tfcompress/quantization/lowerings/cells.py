"""Forms of the cells of recurrent layers.

All gates are computed at once and cut apart by slices. A split would do the same, but in the first
step one of its results is read by nothing, and such a split stays in float in some conversions and
not in others. Nor is the zero that the first step starts from multiplied and added: how much of
that the converter takes out depends on signs of zeros.

Biases are added to the products with the inputs, where a device adds them up in 32 bits. What a
cell drops out is applied inside its products, so that training makes the tensors of inference.
"""

import functools

import tensorflow as tf
from keras import layers as kl

from tfcompress.compat.keras_recurrent import ConvLSTMCell, can_drop_out
from tfcompress.keras_graph.inner_tensors import unwatched


def simple_rnn(layer, call, tap):
    """Compute a step of SimpleRNN."""
    del call

    def run(inputs, states, training=False):
        (hidden,) = _listed(states)
        dropped, recurrent = _masks(layer, inputs, hidden, training)
        kernel, matrix, bias = _weights(layer)
        x = tap("input_product", _product(inputs, dropped, kernel, bias))
        h = _offered(tap, "recurrent_product", _product(hidden, recurrent, matrix))
        outputs = _sum(tap, "sum", x, h)
        if layer.activation is not None:
            outputs = layer.activation(outputs)
        return outputs, _like(states, outputs)

    return run


def gru(layer, call, tap):
    """Compute a step of GRU."""
    del call

    def run(inputs, states, training=False):
        (hidden,) = _listed(states)
        units = layer.units
        dropped, recurrent = _masks(layer, inputs, hidden, training)
        kernel, matrix, bias = _weights(layer)
        recurrent_bias = None
        if layer.reset_after and bias is not None:
            bias, recurrent_bias = bias[0], bias[1]
        x = tap("input_product", _product(inputs, dropped, kernel, bias))
        x_update, x_reset, x_new = _gates(x, 3, units)
        if layer.reset_after:
            h = _product(hidden, recurrent, matrix, recurrent_bias)
            h_update, h_reset, h_new = _gates(_offered(tap, "recurrent_product", h), 3, units)
        else:
            h = _product(hidden, recurrent and recurrent[:2], matrix[:, : 2 * units])
            h_update, h_reset = _gates(_offered(tap, "recurrent_product", h), 2, units)
            h_new = None
        update = layer.recurrent_activation(_sum(tap, "update", x_update, h_update))
        if h_new is not None:
            reset = layer.recurrent_activation(_sum(tap, "reset", x_reset, h_reset))
            h_new = tap("reset_product", reset * h_new)
        elif not _is_zero(hidden):
            reset = layer.recurrent_activation(_sum(tap, "reset", x_reset, h_reset))
            left = tap("left", reset * hidden)
            h_new = _product(left, recurrent and recurrent[2:], matrix[:, 2 * units :])
            h_new = tap("reset_product", h_new)
        new = tap("new", (1.0 - update) * layer.activation(_sum(tap, "candidate", x_new, h_new)))
        kept = None if _is_zero(hidden) else tap("kept", update * hidden)
        hidden = _sum(tap, "state", new, kept)
        return hidden, _like(states, hidden)

    return run


def lstm(layer, call, tap):
    """Compute a step of LSTM."""
    del call

    def run(inputs, states, training=False):
        hidden, carried = states
        dropped, recurrent = _masks(layer, inputs, hidden, training)
        kernel, matrix, bias = _weights(layer)
        x = tap("input_product", _product(inputs, dropped, kernel, bias))
        h = _offered(tap, "recurrent_product", _product(hidden, recurrent, matrix))
        gates = _gates(_sum(tap, "sum", x, h), 4, layer.units)
        return _long_short_term(layer, tap, gates, carried)

    return run


def convolutional_lstm(layer, call, tap):
    """Compute a step of ConvLSTM: two convolutions in place of eight."""
    if layer.data_format != "channels_last":
        return call

    def run(inputs, states, training=False):
        hidden, carried = states
        dropped, recurrent = _masks(layer, inputs, hidden, training)
        kernel, matrix, bias = _weights(layer)
        convolve = functools.partial(layer.input_conv, padding=layer.padding)
        x = tap("input_product", _product(inputs, dropped, kernel, bias, convolve))
        h = _product(hidden, recurrent, matrix, multiply=layer.recurrent_conv)
        h = _offered(tap, "recurrent_product", h)
        gates = _gates(_sum(tap, "sum", x, h), 4, layer.filters)
        return _long_short_term(layer, tap, gates, carried)

    return run


def _long_short_term(layer, tap, gates, carried):
    into, keep, new, out = gates
    added = tap("added", layer.recurrent_activation(into) * layer.activation(new))
    kept = None
    if not _is_zero(carried):
        kept = tap("kept", layer.recurrent_activation(keep) * carried)
    carried = _sum(tap, "carried", added, kept)
    hidden = layer.recurrent_activation(out) * layer.activation(carried)
    return hidden, [hidden, carried]


def _is_zero(state):
    """Tell whether a state is the zero that a recurrent layer starts from."""
    operation = getattr(state, "op", None)
    while operation is not None and operation.type in ("Cast", "Identity"):
        operation = operation.inputs[0].op
    if operation is None or operation.type not in ("Const", "Fill"):
        return False
    filled = operation.outputs[0] if operation.type == "Const" else operation.inputs[1]
    value = tf.get_static_value(filled)
    return value is not None and not value.any()


def _sum(tap, role, x, h):
    """Add what is not known to be zero."""
    return x if h is None else tap(role, x + h)


def _offered(tap, role, x):
    return None if x is None else tap(role, x)


def require_no_dropout(cell) -> None:
    """Check that a cell without a form makes the same tensors in training and in inference.

    Args:
        cell: any layer.

    Raises:
        ValueError: it is a recurrent cell that drops out.
    """
    if can_drop_out(cell) and (cell.dropout or cell.recurrent_dropout):
        raise ValueError(
            f"Cell {cell.path!r} cannot be quantized: what it drops out in training changes the "
            "tensors inside. Supported with dropout: SimpleRNNCell, GRUCell, LSTMCell and "
            "ConvLSTM, not classes derived from them. Received: "
            f"{type(cell).__name__}(dropout={cell.dropout}, "
            f"recurrent_dropout={cell.recurrent_dropout}). Drop out by a layer of its own, or "
            "leave the cell in float with `layers=`."
        )


@unwatched
def _product(x, masks, kernel, bias=None, multiply=tf.matmul):
    """Multiply by a kernel what is left of the inputs of each gate; None for a zero."""
    if _is_zero(x):
        return None if bias is None else bias[tf.newaxis]
    if masks is None:
        outputs = multiply(x, kernel)
    elif len(masks) == 1:
        outputs = multiply(x * masks[0], kernel)
    else:
        parts = tf.split(kernel, len(masks), -1)
        gates = [multiply(x * mask, part) for mask, part in zip(masks, parts, strict=True)]
        outputs = tf.concat(gates, -1)
    return outputs if bias is None else outputs + bias


@unwatched
def _masks(layer, inputs, hidden, training):
    """Return what the inputs and the state are multiplied by: one mask for all gates or several."""
    masks = []
    for rate, draw, x in [
        (layer.dropout, layer.get_dropout_mask, inputs),
        (layer.recurrent_dropout, layer.get_recurrent_dropout_mask, hidden),
    ]:
        drawn = draw(x) if training and 0.0 < rate < 1.0 else None
        masks.append(drawn if drawn is None or isinstance(drawn, list) else [drawn])
    return masks


def _weights(layer):
    variables = (layer.kernel, layer.recurrent_kernel, layer.bias)
    return [None if v is None else tf.convert_to_tensor(v) for v in variables]


def _gates(x, count, units):
    if x is None:
        return [None] * count
    return [x[..., gate * units : (gate + 1) * units] for gate in range(count)]


def _listed(states):
    return states if isinstance(states, (list, tuple)) else [states]


def _like(states, hidden):
    return [hidden] if isinstance(states, (list, tuple)) else hidden


FORMS = {
    ConvLSTMCell: convolutional_lstm,
    kl.GRUCell: gru,
    kl.LSTMCell: lstm,
    kl.SimpleRNNCell: simple_rnn,
}
