"""The fused LSTM of .tflite files in float, and the grid of its cell states.

The cell states never leave the operation, so their range is computed beside it.

Source: Hochreiter and Schmidhuber 1997; the layout of its 24 inputs is that of
UNIDIRECTIONAL_SEQUENCE_LSTM.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfcompress.quantization.kernels.grids import Grid
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.filling import (
    BIASES,
    CELL_STATE,
    CELL_STEPS,
    HIDDEN_STATE,
    INPUT_WEIGHTS,
    STATE_WEIGHTS,
)
from tfcompress.tflite.model import Operation, TFLiteModel

_VARIANTS = {
    "peepholes": range(9, 12),
    "a projection": range(16, 18),
    "layer normalization": range(20, 24),
}


class States(NamedTuple):
    """What an LSTM computed, step by step."""

    # Its outputs, shape (batch, steps, units), or (steps, batch, units) if the operation is time-
    # major.
    hidden: tf.Tensor
    cell: tf.Tensor  # its cell states after each step, likewise


def sequence_lstm(operation: Operation, inputs: Sequence[tf.Tensor | None]) -> States:
    """Run a UNIDIRECTIONAL_SEQUENCE_LSTM over a sequence, its first input."""
    _check(operation, inputs)
    options = operation.options
    value = inputs[0] if options.get("time_major") else tf.transpose(inputs[0], [1, 0, 2])
    kernel = tf.concat([inputs[i] for i in INPUT_WEIGHTS], 0)
    recurrent = tf.concat([inputs[i] for i in STATE_WEIGHTS], 0)
    bias = tf.concat([inputs[i] for i in BIASES], 0)
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

    initial = [_initial_state(inputs[place], batch, units) for place in (HIDDEN_STATE, CELL_STATE)]
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
    there = {place for place, entry in enumerate(inputs) if entry is not None}
    found = [name for name, places in _VARIANTS.items() if there & {*places}]
    if not there >= {*INPUT_WEIGHTS}:
        found.append("no input gate")
    activation = operation.options.get("fused_activation_function", "TANH")
    if activation != "TANH":
        found.append(f"the activation {activation}")
    if found:
        raise ValueError(
            f"{operation.name} (operation {operation.index}): supported is the plain LSTM with "
            f"tanh, four gates and biases. Received: one with {', '.join(found)}"
        )


def cell_grid(smallest, largest) -> Grid:
    """Make the grid of cell states: the finest power of two that holds them.

    Example:
    >>> float(cell_grid(tf.constant(-1.5), tf.constant(1.0)).scale) == 2.0**-14
    True
    """
    limit = tf.maximum(tf.abs(smallest), tf.abs(largest))
    steps = tf.constant(CELL_STEPS)
    wide_enough = steps * 2.0**15 >= limit
    step = tf.reduce_min(tf.where(wide_enough, steps, CELL_STEPS[-1]))
    return Grid(step, tf.constant(0), "INT16")


def cell_states(model: TFLiteModel, operation: Operation) -> Callable:
    """Return a function from a sequence to the cell states of a float file's fused LSTM."""
    tensors = model.subgraphs[0].tensors
    constants = [
        constant_value(model, tensors[index]) if index >= 0 and tensors[index].constant else None
        for index in operation.inputs[1:]
    ]
    # States start at zero, as variables do in a file.
    compute = tf.function(
        lambda sequence: sequence_lstm(operation, [sequence, *constants]).cell,
        autograph=False,
        reduce_retracing=True,
    )
    return lambda sequence: compute(tf.constant(sequence)).numpy()
