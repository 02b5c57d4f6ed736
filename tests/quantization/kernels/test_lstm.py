import importlib
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tfcompress.compat.litert_schema import schema
from tfcompress.quantization.kernels.lstm import sequence_lstm

STEPS, CHANNELS, UNITS, ITEMS = 5, 3, 4, 2


@pytest.fixture
def handmade(monkeypatch):
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).resolve().parents[2] / "tflite"))
    return importlib.import_module("handmade")


@pytest.fixture
def layer():
    keras.utils.set_random_seed(0)
    layer = keras.layers.LSTM(UNITS, return_sequences=True, bias_initializer="random_normal")
    layer.build((None, STEPS, CHANNELS))
    return layer


@pytest.fixture
def sequence():
    return np.random.default_rng(0).normal(0, 1, (ITEMS, STEPS, CHANNELS)).astype("f4")


def constants(layer):
    # Both know the gates as input, forget, cell, output.
    kernel, recurrent, bias = (weight.numpy() for weight in layer.weights)
    gates = [np.split(weight, 4, -1) for weight in (kernel, recurrent, bias)]
    return [*(part.T for part in gates[0]), *(part.T for part in gates[1])], gates[2]


def all_inputs(layer, sequence):
    weights, biases = constants(layer)
    inputs = [sequence, *weights, *[None] * 3, *biases, *[None] * 4, *[None] * 4]
    return [None if entry is None else tf.constant(entry) for entry in inputs]


def test_outputs_equal_keras(layer, sequence, operation):
    lstm = operation("UNIDIRECTIONAL_SEQUENCE_LSTM", fused_activation_function="TANH")
    found = sequence_lstm(lstm, all_inputs(layer, sequence))
    np.testing.assert_allclose(found.hidden, layer(sequence), atol=1e-6)


def test_cell_states_of_every_step(layer, sequence, operation):
    lstm = operation("UNIDIRECTIONAL_SEQUENCE_LSTM", fused_activation_function="TANH")
    found = sequence_lstm(lstm, all_inputs(layer, sequence))
    states = [tf.zeros((ITEMS, UNITS))] * 2
    for step in range(STEPS):
        _, states = layer.cell(sequence[:, step], states)
        np.testing.assert_allclose(found.cell[:, step], states[1], atol=1e-6)


def test_steps_may_come_first(layer, sequence, operation):
    options = {"fused_activation_function": "TANH"}
    lstm = operation("UNIDIRECTIONAL_SEQUENCE_LSTM", **options)
    turned = operation("UNIDIRECTIONAL_SEQUENCE_LSTM", time_major=True, **options)
    found = sequence_lstm(lstm, all_inputs(layer, sequence))
    other = sequence_lstm(turned, all_inputs(layer, sequence.transpose(1, 0, 2)))
    np.testing.assert_allclose(tf.transpose(other.hidden, [1, 0, 2]), found.hidden, atol=1e-6)


def test_cells_are_clipped(layer, sequence, operation):
    lstm = operation(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", fused_activation_function="TANH", cell_clip=0.05
    )
    cells = sequence_lstm(lstm, all_inputs(layer, sequence)).cell
    assert np.abs(cells).max() == np.float32(0.05)


def test_outputs_equal_the_device(layer, sequence, operation, handmade):
    weights, biases = constants(layer)
    tensor = handmade.tensor
    shape = (1, STEPS, CHANNELS)
    tensors = [tensor("x", shape)]
    tensors += [tensor(f"w{i}", value.shape, value=value) for i, value in enumerate(weights)]
    tensors += [tensor(f"b{i}", value.shape, value=value) for i, value in enumerate(biases)]
    tensors += [tensor(name, (1, UNITS), isVariable=True) for name in ("h", "c")]
    tensors.append(tensor("y", (1, STEPS, UNITS)))
    options = schema.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.TANH
    places = [0, *range(1, 9), -1, -1, -1, *range(9, 13), -1, -1, 13, 14, -1, -1, -1, -1]
    record = handmade.operation("UNIDIRECTIONAL_SEQUENCE_LSTM", places, [15], 1, options=options)
    content = handmade.file(handmade.graph(tensors, [record], [0], [15]))
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    lstm = operation("UNIDIRECTIONAL_SEQUENCE_LSTM", fused_activation_function="TANH")
    found = sequence_lstm(lstm, all_inputs(layer, sequence)).hidden
    for item in range(ITEMS):
        interpreter.reset_all_variables()
        interpreter.set_tensor(0, sequence[item : item + 1])
        interpreter.invoke()
        np.testing.assert_allclose(interpreter.get_tensor(15)[0], found[item], atol=1e-6)


def test_other_variants_are_refused(layer, sequence, operation):
    inputs = all_inputs(layer, sequence)
    inputs[9] = tf.zeros(UNITS)
    lstm = operation("UNIDIRECTIONAL_SEQUENCE_LSTM", fused_activation_function="RELU")
    with pytest.raises(ValueError, match="with peepholes, the activation RELU"):
        sequence_lstm(lstm, inputs)
