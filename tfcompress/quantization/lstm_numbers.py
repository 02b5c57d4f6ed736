"""The numbers of a fused LSTM: which tensors have which grids, and how large cell states get.

The cell states never leave the operation, so their range is computed beside it.
"""

import tensorflow as tf

from tfcompress.quantization.kernels.grids import Grid
from tfcompress.quantization.kernels.lstm import sequence_lstm
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.filling import (
    BIASES,
    CELL_STEPS,
    FUSED_LSTM,
    INPUT_WEIGHTS,
    STATE_WEIGHTS,
)
from tfcompress.tflite.model import Operation, TFLiteModel
from tfcompress.tflite.operations import support


def weight_positions(operation: Operation) -> dict[int, int | None]:
    """Tell where an operation reads kernels and biases.

    Args:
        operation: an operation of a file.

    Returns:
        For the position of each kernel that of the bias that is added to its products, None where
        there is none; empty for operations without kernels.

    Example:
    >>> weight_positions(Operation(0, "CONV_2D", 3, (0, 1, 2), (3,), {}))
    {1: 2}
    """
    if operation.name == FUSED_LSTM:
        places = dict.fromkeys((*INPUT_WEIGHTS, *STATE_WEIGHTS))
        places |= zip(INPUT_WEIGHTS, BIASES, strict=True)
    else:
        entry = support(operation.name)
        places = {} if entry is None or entry.kernel is None else {entry.kernel: entry.bias}
    there = {place for place, tensor in enumerate(operation.inputs) if tensor >= 0}
    return {
        kernel: bias if bias in there else None
        for kernel, bias in places.items()
        if kernel in there
    }


def cell_grid(smallest, largest) -> Grid:
    """Make the grid of cell states: the finest power of two that holds them.

    Args:
        smallest: float32 scalar, the smallest cell state.
        largest: float32 scalar, the largest.

    Returns:
        The grid, INT16 with the zero point 0.

    Example:
    >>> float(cell_grid(tf.constant(-1.5), tf.constant(1.0)).scale) == 2.0**-14
    True
    """
    limit = tf.maximum(tf.abs(smallest), tf.abs(largest))
    steps = tf.constant(CELL_STEPS)
    wide_enough = steps * 2.0**15 >= limit
    step = tf.reduce_min(tf.where(wide_enough, steps, CELL_STEPS[-1]))
    return Grid(step, tf.constant(0), "INT16")


class CellStates:
    """Computes the cell states of one fused LSTM of a float file.

    Args:
        model: the file.
        operation: the LSTM.
    """

    def __init__(self, model: TFLiteModel, operation: Operation):
        tensors = model.subgraphs[0].tensors
        constants = [
            constant_value(model, tensors[index])
            if index >= 0 and tensors[index].constant
            else None
            for index in operation.inputs[1:]
        ]
        # States start at zero, as variables do in a file.
        self._states = tf.function(
            lambda sequence: sequence_lstm(operation, [sequence, *constants]).cell,
            autograph=False,
            reduce_retracing=True,
        )

    def __call__(self, sequence):
        """Compute the states after each step.

        Args:
            sequence: what the operation reads, float32 of shape (batch, steps, features).

        Returns:
            float32 array (batch, steps, units).
        """
        return self._states(tf.constant(sequence)).numpy()
