"""The forms of a fused LSTM's tensors when it computes with integers.

UNIDIRECTIONAL_SEQUENCE_LSTM multiplies 8-bit inputs and states by 8-bit weights, and computes the
gates in 16 bits ("8x8_16"). It has its weights at inputs 1 to 8 (of the input, then of the hidden
state; gates in the order input, forget, cell, output), its biases at 12 to 15, the hidden state at
18 and the cell state at 19.

Source: ``PopulateQuantizedLstmParams8x8_16`` and ``PopulatePrecomputedZPTimesWeightsWithBias`` in
tensorflow/lite/kernels/unidirectional_sequence_lstm.cc
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfcompress.tflite.filling import Storage

INPUT_WEIGHTS = (1, 2, 3, 4)
STATE_WEIGHTS = (5, 6, 7, 8)
BIASES = (12, 13, 14, 15)
HIDDEN_STATE, CELL_STATE = 18, 19
GATE = Storage("INT16", (2.0**-12,), (0,))
# The kernel's hyperbolic tangent takes cell states in these steps.
FINEST_CELL_STEP, COARSEST_CELL_STEP = 2.0**-15, 2.0**-9


@dataclasses.dataclass(frozen=True, eq=False)
class LSTMForms:
    """The forms of one operation's tensors.

    Attributes:
        constants: by input position, the weights and biases. Gates often share a constant of the
            float file but not its scale, so that each is a ``read`` of a ``Filling``.
        states: by input position, the hidden state and the cell state: ``storages``.
        intermediates: the four gates and the hidden state, as ``Filling.intermediates`` has them.
    """

    constants: Mapping[int, Storage]
    states: Mapping[int, Storage]
    intermediates: Sequence[Storage]


def lstm_forms(
    constants: Mapping[int, np.ndarray], data: Storage, output: Storage, cell_limit: float
) -> LSTMForms:
    """Choose the forms of an LSTM's weights, biases, states and gates.

    Args:
        constants: by input position, the float weights, (units, features) or (units, units), and
            biases, (units,).
        data: the form of the input sequence, INT8.
        output: the form of the output sequence, INT8. The hidden state has the same.
        cell_limit: the largest absolute value of the cell state.

    Returns:
        The forms: weights symmetric with one scale each, biases with the product of the input's
        scale and their weights', the cell state in the finest power of two that holds the limit.

    Example:
    ```python
    unit = Storage("INT8", (1 / 128,), (0,))
    constants = {1: np.ones((4, 8), np.float32), 12: np.ones(4, np.float32)}
    forms = lstm_forms(constants, unit, unit, cell_limit=2.0)
    forms.states[19].scales  # (6.103515625e-05,): 2**-14
    ```
    """
    forms = {
        position: _weights(constants[position])
        for position in (*INPUT_WEIGHTS, *STATE_WEIGHTS)
        if position in constants
    }
    for weights, position in zip(INPUT_WEIGHTS, BIASES, strict=True):
        if position in constants:
            forms[position] = _bias(constants[position], data, forms[weights])
    step = 2.0 ** math.ceil(math.log2(max(cell_limit, FINEST_CELL_STEP) / 2**15))
    cell = Storage("INT16", (min(max(step, FINEST_CELL_STEP), COARSEST_CELL_STEP),), (0,))
    return LSTMForms(forms, {HIDDEN_STATE: output, CELL_STATE: cell}, (*(GATE,) * 4, output))


def _weights(values: np.ndarray) -> Storage:
    """Round weights to 8 bits around zero."""
    scale = np.float32(np.abs(values).max() / 127) or np.float32(1.0)
    integers = np.rint(values.astype(np.float64) / scale).astype(np.int8)
    return Storage("INT8", (scale,), (0,), values=integers)


def _bias(values: np.ndarray, data: Storage, weights: Storage) -> Storage:
    """Round a bias to the step of the products that it is added to."""
    scale = np.float32(data.scales[0]) * np.float32(weights.scales[0])
    limits = np.iinfo(np.int32)
    integers = np.clip(np.rint(values.astype(np.float64) / scale), limits.min, limits.max)
    return Storage("INT32", (scale,), (0,), values=integers.astype(np.int32))
