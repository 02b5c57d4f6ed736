"""Where a fused LSTM has its tensors, and their forms when it computes with integers.

UNIDIRECTIONAL_SEQUENCE_LSTM multiplies 8-bit inputs and states by 8-bit weights, and computes the
gates in 16 bits ("8x8_16"). It has its weights at inputs 1 to 8 (of the input, then of the hidden
state; gates in the order input, forget, cell, output), its biases at 12 to 15, the hidden state at
18 and the cell state at 19.

Weights are symmetric with one scale each. A bias has the scale of the input times that of the
input's weights. The hidden state has the scale of the output. The scale of the cell state is a
power of two, its type INT16.

Source: ``PopulateQuantizedLstmParams8x8_16`` and ``PopulatePrecomputedZPTimesWeightsWithBias`` in
tensorflow/lite/kernels/unidirectional_sequence_lstm.cc
"""

from tfcompress.tflite.filling import Storage

FUSED_LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"
INPUT_WEIGHTS = (1, 2, 3, 4)
STATE_WEIGHTS = (5, 6, 7, 8)
BIASES = (12, 13, 14, 15)
HIDDEN_STATE, CELL_STATE = 18, 19
# The kernel's hyperbolic tangent takes cell states in these steps.
CELL_STEPS = tuple(2.0**exponent for exponent in range(-15, -8))
_GATE = Storage("INT16", (2.0**-12,), (0,))


def inner_storages(output: Storage) -> tuple[Storage, ...]:
    """Return the forms of an integer LSTM's inner tensors.

    Args:
        output: the form of its output, INT8.

    Returns:
        The four gates and the hidden state, as ``Filling.intermediates`` has them.

    Example:
    ```python
    inner_storages(Storage("INT8", (1 / 128,), (0,)))[4].scales  # (0.0078125,)
    ```
    """
    return *(_GATE,) * 4, output
