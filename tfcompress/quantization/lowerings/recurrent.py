"""Lowerings of recurrent layers: cells for integer kernels, loops unrolled, LSTM as one operation.

The converter cannot quantize a loop. Unrolled, each step is a call of the cell, whose tensors are
seen as those of any layer. In a cell all gates are computed at once and cut apart by slices. A
split would do the same, but in the first step one of its results is read by nothing, and such a
split stays in float in some conversions and not in others. Nor is the zero that the first step
starts from multiplied and added: how much of that the converter takes out depends on signs of
zeros. Biases are added to the products with the inputs, where a device adds them up in 32 bits.
What a cell drops out is applied inside its products, so that training makes the tensors of
inference.

After training, an LSTM becomes one operation where that can stand for it. The converter puts
UNIDIRECTIONAL_SEQUENCE_LSTM in the place of a function that says that it implements an LSTM and has
the arguments and results of Keras 2's (``ConvertKerasLSTMLayer`` in
tensorflow/compiler/mlir/lite/utils/lstm_utils.cc).
"""

import contextlib
import functools
from collections.abc import Callable

import keras
import tensorflow as tf
from keras import layers as kl

from tfcompress.compat.keras_attributes import replaced_attributes
from tfcompress.compat.keras_layers import all_layers
from tfcompress.compat.keras_recurrent import (
    ConvLSTMCell,
    can_drop_out,
    through_the_cell,
    through_the_layers,
)
from tfcompress.keras_graph.inner_tensors import unwatched
from tfcompress.keras_graph.selection import walk_layers
from tfcompress.quantization.lowerings.activations import call_within


def require_no_state(model: keras.Model) -> None:
    """Raise a ValueError that names a layer that remembers one call in the next."""
    for path, layer in recurrent_layers(model):
        if layer.stateful:
            raise ValueError(
                f"Layer {path!r} keeps its state between calls (stateful=True), which a .tflite "
                "file made of it would not. Make it without, and pass states as inputs and outputs "
                "(initial_state=..., return_state=True)."
            )


def require_no_dropout(cell) -> None:
    """Raise a ValueError for a cell without a lowering that drops out.

    It would not make the same tensors in training and in inference.
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


def recurrent_layers(model: keras.Model) -> list[tuple[str, keras.layers.RNN]]:
    """List the recurrent layers of a model with their paths."""
    return [(path, layer) for path, layer in walk_layers(model) if isinstance(layer, kl.RNN)]


def unrolled(layer, call, tap):
    """Run an RNN layer step by step, through its cell alone."""
    del tap
    return call_within(lambda: through_the_cell(layer), call)


def _both_directions(layer, call, tap):
    """Run Bidirectional through its two layers."""
    del tap
    return call_within(lambda: through_the_layers(layer), call)


def _simple_rnn(layer, call, tap):
    """Compute a step of SimpleRNN."""
    del call

    def run(inputs, states, training=False):
        hidden = keras.tree.flatten(states)[0]
        x, h = _products(layer, tap, inputs, hidden, training)
        outputs = _sum(tap, "sum", x, h)
        if layer.activation is not None:
            outputs = layer.activation(outputs)
        return outputs, _like(states, outputs)

    return run


def _gru(layer, call, tap):
    """Compute a step of GRU."""
    del call

    def run(inputs, states, training=False):
        hidden, units = keras.tree.flatten(states)[0], layer.units
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


def _lstm(layer, call, tap):
    """Compute a step of LSTM."""
    del call
    return _long_short_term(layer, tap, layer.units, tf.matmul, tf.matmul)


def _convolutional_lstm(layer, call, tap):
    """Compute a step of ConvLSTM: two convolutions in place of eight."""
    if layer.data_format != "channels_last":
        return call
    convolve = functools.partial(layer.input_conv, padding=layer.padding)
    return _long_short_term(layer, tap, layer.filters, convolve, layer.recurrent_conv)


def _long_short_term(layer, tap, units, *multiply):
    """Compute a step of a cell with a hidden and a carried state."""

    def run(inputs, states, training=False):
        hidden, carried = states
        x, h = _products(layer, tap, inputs, hidden, training, *multiply)
        into, keep, new, out = _gates(_sum(tap, "sum", x, h), 4, units)
        added = tap("added", layer.recurrent_activation(into) * layer.activation(new))
        kept = None
        if not _is_zero(carried):
            kept = tap("kept", layer.recurrent_activation(keep) * carried)
        carried = _sum(tap, "carried", added, kept)
        hidden = layer.recurrent_activation(out) * layer.activation(carried)
        return hidden, [hidden, carried]

    return run


def _products(layer, tap, inputs, hidden, training, multiply=tf.matmul, multiply_state=tf.matmul):
    """Return the products with the inputs, and those with the state, None for a zero."""
    dropped, recurrent = _masks(layer, inputs, hidden, training)
    kernel, matrix, bias = _weights(layer)
    x = tap("input_product", _product(inputs, dropped, kernel, bias, multiply))
    h = _product(hidden, recurrent, matrix, multiply=multiply_state)
    return x, _offered(tap, "recurrent_product", h)


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
    """Offer a tensor to the tap, if there is one."""
    return None if x is None else tap(role, x)


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
    """Return the kernel, the recurrent kernel and the bias of a cell, None where absent."""
    variables = (layer.kernel, layer.recurrent_kernel, layer.bias)
    return [None if v is None else tf.convert_to_tensor(v) for v in variables]


def _gates(x, count, units):
    """Cut the gates apart."""
    if x is None:
        return [None] * count
    return [x[..., gate * units : (gate + 1) * units] for gate in range(count)]


def _like(states, hidden):
    """Arrange the new state as the old one was."""
    return [hidden] if isinstance(states, (list, tuple)) else hidden


FORMS = {
    kl.Bidirectional: _both_directions,
    kl.GRU: unrolled,
    kl.LSTM: unrolled,
    kl.RNN: unrolled,
    kl.SimpleRNN: unrolled,
    ConvLSTMCell: _convolutional_lstm,
    kl.GRUCell: _gru,
    kl.LSTMCell: _lstm,
    kl.SimpleRNNCell: _simple_rnn,
}


def with_recurrence(
    model: keras.Model, lowering: Callable | None, *, fuse: bool, unroll: bool
) -> Callable:
    """Make recurrent layers compute in a way that converts, beside the lowering of each layer.

    With ``fuse``, which needs a fixed batch size, an LSTM may become one operation. With
    ``unroll``, the loops of the others are unrolled, as integer files and free batch sizes need.
    """
    paths = {id(layer): path for path, layer in recurrent_layers(model)}

    def lowered(layer, call, tap):
        run = call if lowering is None else lowering(layer, call, tap)
        if id(layer) not in paths:
            return run

        def recur(sequences, initial_state=None, mask=None, **kwargs):
            plain = initial_state is None and mask is None
            if fuse and plain and _is_standard_lstm(layer):
                return _fused_lstm(layer, paths[id(layer)], sequences)
            with contextlib.ExitStack() as stack:
                _prepare_for_graph(stack, layer, unroll)
                return run(sequences, initial_state=initial_state, mask=mask, **kwargs)

        return recur

    return lowered


def _is_standard_lstm(layer: keras.layers.RNN) -> bool:
    """Tell whether the operation computes what the layer does."""
    return (
        type(layer) is keras.layers.LSTM
        and layer.activation is keras.activations.tanh
        and layer.recurrent_activation is keras.activations.sigmoid
        and not layer.return_state
    )


def _prepare_for_graph(stack, layer, unroll):
    """Unroll a layer's loop and keep masks out of its cells while it is traced."""
    cells = all_layers(layer)
    if unroll and not layer.unroll:
        stack.enter_context(replaced_attributes(layer, unroll=True))
        for cell in cells:
            if hasattr(cell, "implementation"):
                # Each gate by itself: the converter leaves a SPLIT into gates in float, at times.
                stack.enter_context(replaced_attributes(cell, implementation=1))
    for cell in cells:
        if hasattr(cell, "get_dropout_mask"):
            # Cells draw masks, and move a seed on, in inference as well.
            stack.enter_context(replaced_attributes(cell, dropout=0.0, recurrent_dropout=0.0))


def _fused_lstm(layer: keras.layers.LSTM, path: str, sequences):
    """Call the function that the converter replaces."""
    function = tf.function(
        functools.partial(_lstm_of_keras_2, layer.go_backwards),
        autograph=False,
        experimental_attributes={
            "api_implements": "lstm_" + path.replace("/", "_"),
            "time_major": False,
            "go_backwards": layer.go_backwards,
        },
    )
    cell = layer.cell
    state = tf.zeros((sequences.shape[0], layer.units), sequences.dtype)
    bias = cell.bias if cell.use_bias else tf.zeros((4 * layer.units,), sequences.dtype)
    weights = map(tf.convert_to_tensor, (cell.kernel, cell.recurrent_kernel, bias))
    last, every, *_ = function(sequences, state, state, *weights)
    return every if layer.return_sequences else last


def _lstm_of_keras_2(go_backwards, inputs, hidden, cell, kernel, recurrent_kernel, bias):
    """Compute an LSTM; the arguments and the five results are those that the converter expects."""

    def step(states, x):
        hidden, cell = states
        gates = x @ kernel + hidden @ recurrent_kernel + bias
        into, keep, candidate, out = tf.split(gates, 4, axis=1)
        cell = tf.sigmoid(keep) * cell + tf.sigmoid(into) * tf.tanh(candidate)
        return tf.sigmoid(out) * tf.tanh(cell), cell

    steps = tf.transpose(inputs, (1, 0, 2))
    if go_backwards:
        steps = tf.reverse(steps, (0,))
    hidden, cell = tf.scan(step, steps, (hidden, cell))
    every = tf.transpose(hidden, (1, 0, 2))
    return every[:, -1], every, hidden[-1], cell[-1], tf.constant(0.0)
