"""The fused LSTM of .tflite files in float.

Source: Hochreiter and Schmidhuber 1997; the layout of its 24 inputs is that of
UNIDIRECTIONAL_SEQUENCE_LSTM.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfcompress.tflite.model import Operation

_INPUT_WEIGHTS = slice(1, 5)
_RECURRENT_WEIGHTS = slice(5, 9)
_PEEPHOLES = slice(9, 12)
_BIASES = slice(12, 16)
_PROJECTION = slice(16, 18)
_HIDDEN, _CELL = 18, 19
_NORMALIZATION = slice(20, 24)


class States(NamedTuple):
    """What an LSTM computed, step by step.

    Attributes:
        hidden: its outputs, shape (batch, steps, units), or (steps, batch, units) if the
            operation is time-major.
        cell: its cell states after each step, likewise.
    """

    hidden: tf.Tensor
    cell: tf.Tensor


def sequence_lstm(operation: Operation, inputs: Sequence[tf.Tensor | None]) -> States:
    """Run an LSTM over a sequence.

    Args:
        operation: a UNIDIRECTIONAL_SEQUENCE_LSTM.
        inputs: its inputs: the sequence, four input and four recurrent kernels (input, forget,
            cell and output gate, each of shape (units, channels) or (units, units)), peepholes,
            biases, a projection, the initial output and cell state, layer normalization; None
            where absent.

    Returns:
        The outputs and the cell states of all steps.

    Raises:
        ValueError: the LSTM has peepholes, a projection, layer normalization, no input gate, or
            another activation than tanh.
    """
    _check(operation, inputs)
    options = operation.options
    value = inputs[0] if options.get("time_major") else tf.transpose(inputs[0], [1, 0, 2])
    kernel = tf.concat(inputs[_INPUT_WEIGHTS], 0)
    recurrent = tf.concat(inputs[_RECURRENT_WEIGHTS], 0)
    bias = tf.concat(inputs[_BIASES], 0)
    units = recurrent.shape[1]
    clip = options.get("cell_clip", 0.0)
    # One product for all steps; what remains in the loop is the recurrent one.
    steps, batch = tf.shape(value)[0], tf.shape(value)[1]
    rows = tf.reshape(value, [-1, value.shape[-1]])
    driven = tf.reshape(tf.matmul(rows, kernel, transpose_b=True) + bias, [steps, batch, 4 * units])

    def step(states, gates):
        hidden, cell = states
        gates += tf.matmul(hidden, recurrent, transpose_b=True)
        enter, forget, candidate, leave = tf.split(gates, 4, -1)
        cell = tf.sigmoid(forget) * cell + tf.sigmoid(enter) * tf.tanh(candidate)
        if clip > 0:
            cell = tf.clip_by_value(cell, -clip, clip)
        return tf.sigmoid(leave) * tf.tanh(cell), cell

    initial = [_initial_state(inputs[place], batch, units) for place in (_HIDDEN, _CELL)]
    hidden, cell = tf.scan(step, driven, tuple(initial))
    if not options.get("time_major"):
        hidden, cell = tf.transpose(hidden, [1, 0, 2]), tf.transpose(cell, [1, 0, 2])
    sizes = [*inputs[0].shape[:2], units]
    hidden.set_shape(sizes)
    cell.set_shape(sizes)
    return States(hidden, cell)


def _initial_state(state, batch, units):
    """The state before the first step: zeros, or what the file holds, for each of the batch."""
    if state is None:
        return tf.zeros([batch, units])
    state = tf.reshape(state, [-1, units])
    return tf.tile(state, [batch // tf.shape(state)[0], 1])


def _check(operation, inputs):
    """Refuse the variants of the LSTM that are not computed here."""
    inputs = [*inputs, *[None] * (24 - len(inputs))]
    variants = {"peepholes": _PEEPHOLES, "a projection": _PROJECTION}
    variants["layer normalization"] = _NORMALIZATION
    found = [
        name for name, places in variants.items() if any(x is not None for x in inputs[places])
    ]
    if any(x is None for x in inputs[_INPUT_WEIGHTS]):
        found.append("no input gate")
    activation = operation.options.get("fused_activation_function", "TANH")
    if activation != "TANH":
        found.append(f"the activation {activation}")
    if found:
        raise ValueError(
            f"{operation.name} (operation {operation.index}): supported is the plain LSTM with "
            f"tanh, four gates and biases. Received: one with {', '.join(found)}"
        )
