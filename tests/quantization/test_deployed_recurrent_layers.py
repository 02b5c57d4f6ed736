"""Recurrent layers: their steps, trained with deployed numerics, against the file."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite
from tfcompress.compat.keras_recurrent import ConvLSTMCell
from tfcompress.quantization.lowerings import observable_call

STEPS = 2

CELLS = {
    "lstm": lambda: kl.LSTM(4, dropout=0.3),
    "lstm, gate by gate": lambda: kl.LSTM(4, implementation=1, dropout=0.3, use_bias=False),
    "lstm with dropped states": lambda: kl.LSTM(4, recurrent_dropout=0.3, return_sequences=True),
    "gru of sequences": lambda: kl.GRU(4, return_sequences=True),
    "gru, reset before": lambda: kl.GRU(4, reset_after=False, recurrent_dropout=0.2),
    "simple rnn": lambda: kl.SimpleRNN(4, dropout=0.2, recurrent_dropout=0.2),
    "stacked cells": lambda: kl.RNN([kl.GRUCell(4), kl.LSTMCell(3, dropout=0.2)]),
    "both directions": lambda: kl.Bidirectional(kl.LSTM(4, return_sequences=True)),
    "both directions, added": lambda: kl.Bidirectional(
        kl.SimpleRNN(4, return_sequences=True), merge_mode="sum"
    ),
}


def trained(model, examples):
    q = tfc.quantize_aware(model)
    q.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=False)
    zeros = [np.zeros((len(examples), *output.shape[1:])) for output in model.outputs]
    q.fit(examples, zeros, epochs=2, verbose=0)
    return q


def test_file_computes_what_was_trained(tmp_path):
    inputs = keras.Input((STEPS, 5))
    model = keras.Model(inputs, [cell()(inputs) for cell in CELLS.values()])
    examples = np.random.default_rng(0).random((64, STEPS, 5), dtype="float32")
    q = trained(model, examples)
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=examples).report
    assert report.float_operations == ()
    for case, output in zip(CELLS, report.agreement.runs[0].outputs, strict=True):
        # What a step rounds the other way goes on into the next one.
        assert output.largest <= 2 * STEPS, case
        assert output.within_one >= 0.98, case


def test_masked_steps_keep_the_state(tmp_path):
    inputs = keras.Input((STEPS,), dtype="int32")
    model = keras.Model(inputs, kl.GRU(4)(kl.Embedding(9, 4, mask_zero=True)(inputs)))
    tokens = np.random.default_rng(0).integers(0, 9, (64, STEPS)).astype("int32")
    q = trained(model, tokens)
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=tokens).report
    assert report.float_operations == ()
    assert report.agreement.within_one >= 0.98


@pytest.mark.parametrize(
    "cell",
    [
        lambda: kl.SimpleRNNCell(4),
        lambda: kl.GRUCell(4),
        lambda: kl.GRUCell(4, reset_after=False),
        lambda: kl.LSTMCell(4),
        lambda: ConvLSTMCell(2, 4, 3),
    ],
)
@pytest.mark.parametrize("fresh", [True, False])
def test_forms_of_cells_compute_what_keras_does(cell, fresh):
    cell = cell()
    shape = (2, 6, 6, 3) if isinstance(cell, ConvLSTMCell) else (2, 3)
    random = np.random.default_rng(0)
    x = random.random(shape, dtype="float32")
    cell.build(shape)
    if cell.bias is not None:
        cell.bias.assign(random.random(cell.bias.shape, dtype="float32"))
    states = [random.random(state.shape, dtype="float32") for state in initial_states(cell, x)]

    @tf.function
    def both(x, states):
        states = initial_states(cell, x) if fresh else states
        form = observable_call(cell, cell.call, lambda role, tensor: tensor)
        return cell.call(x, states), form(x, states)

    (output, own), (expected_output, expected) = both(x, states)
    np.testing.assert_allclose(output, expected_output, atol=1e-6)
    for state, expected_state in zip(own, expected, strict=True):
        np.testing.assert_allclose(state, expected_state, atol=1e-6)


def initial_states(cell, x):
    states = cell.get_initial_state(batch_size=len(x))
    return states if isinstance(states, list) else [states]


def test_inputs_are_dropped_out_in_training_alone():
    layer = kl.SimpleRNN(
        1, use_bias=False, dropout=0.75, activation=None, kernel_initializer="ones"
    )
    inputs = keras.Input((1, 1))
    q = tfc.quantize_aware(keras.Model(inputs, layer(inputs)))
    x = np.ones((400, 1, 1), "float32")
    q.calibrate(x)
    kept = np.mean(np.asarray(q(x, training=True)) != 0.0)
    assert 0.15 < kept < 0.35
    np.testing.assert_allclose(q(x), np.ones((400, 1)), atol=0.02)


def test_a_cell_of_ones_own_that_drops_out_is_named():
    class OwnCell(kl.LSTMCell):
        pass

    inputs = keras.Input((STEPS, 5))
    model = keras.Model(inputs, kl.RNN(OwnCell(4, dropout=0.3, name="own"))(inputs))
    with pytest.raises(ValueError, match=r"own.*cannot be quantized.*drops out"):
        tfc.quantize_aware(model)


def test_all_steps_of_a_cell_have_one_range():
    inputs = keras.Input((STEPS, 5))
    model = keras.Model(inputs, kl.SimpleRNN(4, name="rnn")(inputs))
    placement = tfc.quantize_aware(model).placement
    steps = {}
    for point, row in placement.rows().items():
        if point.path.startswith("rnn/"):
            steps.setdefault((point.path, point.role), set()).add(row)
    assert steps
    assert all(len(rows) == 1 for rows in steps.values())


def test_a_layer_that_computes_otherwise_in_training_is_named():
    class Wavering(kl.Layer):
        def call(self, x, training=False):
            return x if training else keras.ops.tanh(keras.ops.sigmoid(x) * x) + x

    inputs = keras.Input((4,))
    model = keras.Model(inputs, Wavering(name="wavering")(kl.Dense(4)(inputs)))
    q = tfc.quantize_aware(model)
    q.compile("sgd", "mse")
    x = np.ones((8, 4), "float32")
    with pytest.raises(tfc.PlacementError, match="in training and in inference"):
        q.fit(x, x, verbose=0)
