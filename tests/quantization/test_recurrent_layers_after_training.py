"""Recurrent layers in files quantized after training: LSTM as one operation, others unrolled."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

from exporters import export_tflite, inspect, load, validate
from exporters.converting import convert_model
from tfcompress.quantization.kernels.lstm import cell_grid
from tfcompress.tflite.filling import (
    CELL_STATE,
    CELL_STEPS,
    FUSED_LSTM,
    INPUT_WEIGHTS,
    STATE_WEIGHTS,
)

STEPS, FEATURES, UNITS = 4, 6, 8
RNG = np.random.default_rng(0)


def sequences(count=192):
    return np.random.default_rng(1).standard_normal((count, STEPS, FEATURES)).astype("float32")


def built(*layers):
    return with_biases(keras.Sequential([keras.Input((STEPS, FEATURES), name="x"), *layers]))


def with_biases(model):
    """Move the biases off zero, so that a lost one shows."""
    generator = np.random.default_rng(2)
    for variable in model.weights:
        if "bias" in variable.path:
            variable.assign(variable + generator.uniform(-0.3, 0.3, variable.shape))
    return model


def operations(content):
    return [operation.name for graph in content.subgraphs for operation in graph.operations]


def cell_steps(content):
    """Return the scales of the cell states of a file's fused LSTMs."""
    graph = content.subgraphs[0]
    return [
        graph.tensors[operation.inputs[CELL_STATE]].quantization.scales[0]
        for operation in graph.operations
        if operation.name == FUSED_LSTM
    ]


def noise(file, model, data, expected=None):
    """Root mean square of the error of a file, in parts of that of the outputs."""
    expected = model(data).numpy() if expected is None else expected
    with load(file) as loaded:
        found = loaded.predict(data)[0]
    return np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))


LSTM = {
    "last step": lambda: [kl.LSTM(UNITS), kl.Dense(3)],
    "every step": lambda: [kl.LSTM(UNITS, return_sequences=True), kl.Flatten(), kl.Dense(3)],
    "two": lambda: [kl.LSTM(UNITS, return_sequences=True), kl.LSTM(UNITS), kl.Dense(3)],
    "backwards": lambda: [kl.LSTM(UNITS, go_backwards=True), kl.Dense(3)],
    "every step backwards": lambda: [
        kl.LSTM(UNITS, go_backwards=True, return_sequences=True),
        kl.Flatten(),
        kl.Dense(3),
    ],
    "behind constants that the trace captures": lambda: [
        kl.Normalization(mean=np.full(FEATURES, 0.2), variance=np.full(FEATURES, 2.0)),
        kl.LSTM(UNITS),
        kl.Dense(3),
    ],
    "no bias": lambda: [kl.LSTM(UNITS, use_bias=False), kl.Dense(3)],
    "unrolled by the user": lambda: [kl.LSTM(UNITS, unroll=True), kl.Dense(3)],
    "bidirectional": lambda: [kl.Bidirectional(kl.LSTM(UNITS)), kl.Dense(3)],
    "bidirectional, every step": lambda: [
        kl.Bidirectional(kl.LSTM(UNITS, return_sequences=True)),
        kl.Flatten(),
        kl.Dense(3),
    ],
}


@pytest.mark.parametrize("layers", LSTM.values(), ids=LSTM.keys())
def test_lstm_becomes_the_fused_integer_operation(layers):
    model, data = built(*layers()), sequences()
    converted = convert_model(model, "int8", representative_data=data)
    found = operations(converted.content)
    recurrent = [layer for layer in model._flatten_layers() if isinstance(layer, kl.LSTM)]
    assert found.count(FUSED_LSTM) == len(recurrent)
    assert "WHILE" not in found
    graph = converted.content.subgraphs[0]
    for operation in graph.operations:
        assert graph.tensors[operation.outputs[0]].dtype == "INT8", operation.name
    assert noise(converted.flatbuffer, model, data) < 0.05


@pytest.mark.parametrize("quantization", ["float32", "dynamic", "float16"])
def test_fused_operation_computes_what_keras_does(quantization):
    model, data = built(*LSTM["bidirectional"]()), sequences(32)
    converted = convert_model(model, quantization)
    assert operations(converted.content).count(FUSED_LSTM) == 2
    assert noise(converted.flatbuffer, model, data) < (1e-5 if quantization == "float32" else 2e-3)


@pytest.mark.parametrize("kernel", ["kernel", "recurrent_kernel"])
def test_kernels_of_zeros_are_no_states(kernel):
    # Zeros of the shape of the states that both directions start from.
    model = keras.Sequential([keras.Input((STEPS, 1)), kl.Bidirectional(kl.LSTM(1))])
    with_biases(model)
    for variable in model.weights:
        if variable.name == kernel:
            variable.assign(np.zeros(variable.shape))
    data = sequences(8)[..., :1]
    assert noise(convert_model(model, "float32").flatbuffer, model, data) < 1e-5


def weights_of_lstms(content):
    graph = content.subgraphs[0]
    return [
        graph.tensors[operation.inputs[place]]
        for operation in graph.operations
        if operation.name == FUSED_LSTM
        for place in (*INPUT_WEIGHTS, *STATE_WEIGHTS)
    ]


def test_weights_of_8_bits_with_float_activations():
    model, data = built(kl.Bidirectional(kl.LSTM(24)), kl.Dense(3)), sequences(32)
    converted = convert_model(model, "dynamic")
    weights = weights_of_lstms(converted.content)
    assert len(weights) == 16
    assert {weight.dtype for weight in weights} == {"INT8"}
    assert {len(weight.quantization.scales) for weight in weights} == {1}
    assert noise(converted.flatbuffer, model, data) < 0.02


def test_half_precision_weights():
    model, data = built(kl.LSTM(24), kl.Dense(3)), sequences(32)
    converted = convert_model(model, "float16")
    graph = converted.content.subgraphs[0]
    halves = {tensor.shape for tensor in graph.tensors if tensor.dtype == "FLOAT16"}
    assert {(24, FEATURES), (24, 24), (24,), (3, 24)} <= halves
    assert noise(converted.flatbuffer, model, data) < 2e-3


@pytest.mark.parametrize("seed", range(3))
def test_both_directions_are_equally_right(seed):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.Input((12, 6)), kl.Bidirectional(kl.LSTM(8, return_sequences=True))]
    )
    data = np.random.default_rng(0).standard_normal((64, 12, 6)).astype("float32")
    converted = convert_model(model, "int8", representative_data=data)
    expected = model(data[:32]).numpy()
    with load(converted.flatbuffer) as loaded:
        error = loaded.predict(data[:32])[0] - expected
    halves = (slice(8), slice(8, None))
    forward, backward = (
        10 * np.log10(np.var(expected[..., half]) / np.mean(error[..., half] ** 2))
        for half in halves
    )
    assert min(forward, backward) > 35
    assert abs(forward - backward) < 1


def test_the_cell_state_holds_what_it_reaches_between_the_ends():
    """A cell state that comes near 2 in the middle of a sequence, and is near 0 at its end."""
    model = keras.Sequential([keras.Input((6, 1)), kl.LSTM(1, return_sequences=True)])
    # Inputs of 1 add to the cell state, inputs of -1 empty it.
    kernel = np.array([[9.0, 9.0, 9.0, 9.0]], "float32")
    model.set_weights([kernel, np.full((1, 4), 0.01, "float32"), np.zeros(4, "float32")])
    data = np.array([[1, 1, 0.1, 0, -1, -1]], "float32").reshape(1, 6, 1)
    converted = convert_model(model, "int8", representative_data=data)
    assert cell_steps(converted.content) == [2.0**-14]


def test_cell_states_grow_as_in_keras():
    """Each of the first 20 steps adds 1 to the cell state, each of the others takes 1 away."""
    model = keras.Sequential([keras.Input((40, 1)), kl.LSTM(2, return_sequences=True)])
    kernel = np.array([[0, 0, 0, 0, 5, 5, 0, 0]], "float32")
    bias = np.array([20, 20, 20, 20, 0, 0, 0, 0], "float32")
    model.set_weights([kernel, np.full((2, 8), 1e-3, "float32"), bias])
    data = np.repeat(np.array([1, -1], "float32"), 20).reshape(1, 40, 1)
    with load(convert_model(model, "float32").flatbuffer) as loaded:
        found = loaded.predict(data)[0]
    np.testing.assert_allclose(found, model(data).numpy(), atol=1e-5)
    converted = convert_model(model, "int8", representative_data=data)
    assert cell_steps(converted.content) == [2.0**-10]  # up to 32, where 10 has steps of 2^-11


@pytest.mark.parametrize(
    ("limit", "step"), [(1.0, 2.0**-15), (1.1, 2.0**-14), (0.1, 2.0**-15), (100.0, 2.0**-9)]
)
def test_the_cell_state_has_the_finest_step_that_holds_it(limit, step):
    for smallest, largest in ((-limit, 0.5 * limit), (0.0, limit)):
        grid = cell_grid(tf.constant(smallest), tf.constant(largest))
        assert (float(grid.scale), int(grid.zero_point), grid.dtype) == (step, 0, "INT16")


def stacked():
    return [kl.RNN([kl.LSTMCell(UNITS), kl.GRUCell(4)]), kl.Dense(3)]


UNROLLED = {
    "gru": lambda: [kl.GRU(UNITS), kl.Dense(3)],
    "gru, every step": lambda: [kl.GRU(UNITS, return_sequences=True), kl.Flatten(), kl.Dense(3)],
    "gru, reset before": lambda: [kl.GRU(UNITS, reset_after=False), kl.Dense(3)],
    "bidirectional gru": lambda: [kl.Bidirectional(kl.GRU(UNITS)), kl.Dense(3)],
    "simple": lambda: [kl.SimpleRNN(UNITS), kl.Dense(3)],
    "cells": stacked,
    "lstm with relu": lambda: [kl.LSTM(UNITS, activation="relu"), kl.Dense(3)],
}


@pytest.mark.parametrize("layers", UNROLLED.values(), ids=UNROLLED.keys())
def test_other_recurrent_layers_become_integer_operations(layers):
    model, data = built(*layers()), sequences()
    converted = convert_model(model, "int8", representative_data=data)
    assert not {"WHILE", FUSED_LSTM} & set(operations(converted.content))
    assert noise(converted.flatbuffer, model, data) < 0.08
    for layer in model._flatten_layers():
        assert not getattr(layer, "unroll", False)
        assert getattr(layer, "implementation", 2) == 2


def test_states_that_are_returned_are_exported():
    x = keras.Input((STEPS, FEATURES), name="x")
    model = with_biases(keras.Model(x, kl.Concatenate()(kl.LSTM(UNITS, return_state=True)(x))))
    data = sequences()
    converted = convert_model(model, "int8", representative_data=data)
    assert noise(converted.flatbuffer, model, data) < 0.05


def test_masked_steps_are_skipped():
    x = keras.Input((STEPS,), dtype="int32", name="x")
    hidden = kl.Embedding(20, FEATURES, mask_zero=True, embeddings_initializer="normal")(x)
    model = with_biases(keras.Model(x, kl.Dense(3)(kl.LSTM(UNITS)(hidden))))
    model.layers[1].embeddings.assign(RNG.standard_normal((20, FEATURES)))
    data = np.random.default_rng(3).integers(1, 20, (192, STEPS)).astype("int32")
    data[::2, 2:] = 0
    converted = convert_model(model, "int8", representative_data=data)
    assert noise(converted.flatbuffer, model, data) < 0.05


def test_cell_states_of_tiny_range():
    """The kernel computes nothing with steps below 2^-15."""
    x = keras.Input((STEPS,), dtype="int32", name="x")
    model = keras.Model(x, kl.Dense(3)(kl.LSTM(UNITS)(kl.Embedding(20, FEATURES)(x))))
    data = np.random.default_rng(3).integers(0, 20, (192, STEPS)).astype("int32")
    converted = convert_model(model, "int8", representative_data=data)
    assert cell_steps(converted.content) == [CELL_STEPS[0]]
    assert noise(converted.flatbuffer, model, data) < 0.05


@pytest.mark.parametrize("layer", [kl.LSTM, kl.GRU])
@pytest.mark.parametrize(
    ("quantization", "batch_size", "most"),
    [("int8", None, 0.08), ("int16x8", 1, 0.08), ("float32", None, 1e-5), ("float32", 1, 1e-5)],
)
def test_other_exports(layer, quantization, batch_size, most):
    model, data = built(layer(UNITS), kl.Dense(3)), sequences(96)
    converted = convert_model(model, quantization, representative_data=data, batch_size=batch_size)
    assert noise(converted.flatbuffer, model, data) < most


def test_a_file_of_a_fixed_batch():
    model, data = built(kl.LSTM(UNITS), kl.Dense(3)), sequences(96)
    converted = convert_model(model, "int8", representative_data=data, batch_size=4)
    assert FUSED_LSTM in operations(converted.content)
    assert noise(converted.flatbuffer, model, data) < 0.05


@pytest.mark.parametrize(("quantization", "most"), [("int16x8", 0.08), ("float32", 1e-5)])
def test_dropout_is_no_part_of_a_file(quantization, most):
    layer = kl.GRU(UNITS, dropout=0.5, recurrent_dropout=0.25)
    model, data = built(layer, kl.Dense(3)), sequences(96)
    converted = convert_model(model, quantization, representative_data=data)
    assert noise(converted.flatbuffer, model, data) < most
    assert (layer.dropout, layer.recurrent_dropout) == (0.5, 0.25)


def test_examples_do_not_see_each_others_state(tmp_path):
    """The operation keeps its state in the file's tensors from one run to the next."""
    model, data = built(kl.LSTM(UNITS)), sequences(16)
    file = export_tflite(model, tmp_path / "m.tflite", "float32").path
    assert inspect(file).keeps_state
    assert "reset_all_variables" in inspect(file).to_text()
    with load(str(file)) as loaded:
        first, again = loaded.predict(data)[0], loaded.predict(data[::-1])[0][::-1]
    np.testing.assert_array_equal(first, again)
    assert validate(file, model, data, kernels=["xnnpack"]).largest < 1e-6


def test_state_between_calls_is_refused_by_name():
    model = keras.Sequential(
        [keras.Input((STEPS, FEATURES), batch_size=1), kl.LSTM(4, stateful=True, name="memory")]
    )
    with pytest.raises(ValueError, match="'memory' keeps its state between calls"):
        convert_model(model, "int8", representative_data=sequences(8))
