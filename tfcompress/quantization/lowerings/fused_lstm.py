"""Recurrent layers as a device runs them: LSTM as one operation, the others step by step.

Keras runs a recurrent layer as a loop, for which there are no integer kernels. The converter knows
one recurrent operation, UNIDIRECTIONAL_SEQUENCE_LSTM, and puts it in the place of a function that
says that it implements an LSTM and has the arguments and results of Keras 2's
(``ConvertKerasLSTMLayer`` in tensorflow/compiler/mlir/lite/utils/lstm_utils.cc). So a layer's
lowering is such a function; or, where the operation cannot stand for the layer, its loop is
unrolled.
"""

import contextlib
import functools
from collections.abc import Callable

import keras
import tensorflow as tf

from tfcompress.compat.keras_layers import all_layers
from tfcompress.keras_graph.selection import walk_layers


def require_no_state(model: keras.Model) -> None:
    """Refuse a model that remembers one call in the next.

    Args:
        model: a built Keras model.

    Raises:
        ValueError: a layer keeps its state between calls; names it.
    """
    for path, layer in recurrent_layers(model):
        if layer.stateful:
            raise ValueError(
                f"Layer {path!r} keeps its state between calls (stateful=True), which a .tflite "
                "file made of it would not. Make it without, and pass states as inputs and outputs "
                "(initial_state=..., return_state=True)."
            )


def recurrent_layers(model: keras.Model) -> list[tuple[str, keras.layers.RNN]]:
    """List the recurrent layers of a model with their paths."""
    return [
        (path, layer) for path, layer in walk_layers(model) if isinstance(layer, keras.layers.RNN)
    ]


def with_recurrence(
    model: keras.Model, lowering: Callable | None, *, fuse: bool, unroll: bool
) -> Callable:
    """Make recurrent layers compute in a way that converts, beside the lowerings of others.

    Args:
        model: a built Keras model.
        lowering: that of each layer, see ``HookedCalls.active``; None for calls as they are.
        fuse: whether an LSTM may become one operation, which needs a fixed batch size.
        unroll: whether the loops of the others are unrolled, which integer files need, and free
            batch sizes.

    Returns:
        The lowering of each layer.
    """
    layers = {id(layer): path for path, layer in recurrent_layers(model)}
    fusable = {id(layer) for _, layer in recurrent_layers(model) if _is_standard_lstm(layer)}

    def lowered(layer, call, tap):
        run = call if lowering is None else lowering(layer, call, tap)
        if id(layer) not in layers:
            return run

        def recur(sequences, initial_state=None, mask=None, **kwargs):
            if fuse and id(layer) in fusable and initial_state is None and mask is None:
                return _fused_lstm(layer, layers[id(layer)], sequences)
            with _unrolled(layer, unroll), _without_dropout(layer):
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


@contextlib.contextmanager
def _unrolled(layer: keras.layers.RNN, unroll: bool):
    """Let a layer's loop be unrolled while it is traced."""
    if not unroll or layer.unroll:
        yield
        return
    cells = [part for part in all_layers(layer) if hasattr(part, "implementation")]
    previous = [cell.implementation for cell in cells]
    layer.unroll = True
    for cell in cells:
        # Each gate by itself: the converter leaves a SPLIT into gates in float, now and then.
        cell.implementation = 1
    try:
        yield
    finally:
        layer.unroll = False
        for cell, own in zip(cells, previous, strict=True):
            cell.implementation = own


@contextlib.contextmanager
def _without_dropout(layer: keras.layers.RNN):
    """Keep masks out of the graph: cells draw them, and move a seed on, in inference as well."""
    cells = [part for part in all_layers(layer) if hasattr(part, "get_dropout_mask")]
    rates = [(cell.dropout, cell.recurrent_dropout) for cell in cells]
    for cell in cells:
        cell.dropout = cell.recurrent_dropout = 0.0
    try:
        yield
    finally:
        for cell, own in zip(cells, rates, strict=True):
            cell.dropout, cell.recurrent_dropout = own


def _fused_lstm(layer: keras.layers.LSTM, path: str, sequences):
    """Call the function that the converter replaces."""
    function = tf.function(
        functools.partial(_lstm, layer.go_backwards),
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
    last, every, *_ = function(
        sequences,
        state,
        state,
        *map(tf.convert_to_tensor, (cell.kernel, cell.recurrent_kernel, bias)),
    )
    return every if layer.return_sequences else last


def _lstm(go_backwards, inputs, hidden, cell, kernel, recurrent_kernel, bias):
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
