"""Recurrent layers: their steps, trained with deployed numerics, against the file."""

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite

STEPS = 3

CELLS = {
    "lstm with dropout": lambda: kl.LSTM(4, dropout=0.3),
    "gru of sequences": lambda: kl.GRU(4, return_sequences=True),
    "gru, reset before": lambda: kl.GRU(4, reset_after=False),
    "simple rnn": lambda: kl.SimpleRNN(4, return_sequences=True),
    "both directions": lambda: kl.Bidirectional(kl.GRU(4, return_sequences=True)),
}


def trained(model, examples):
    q = tfc.quantize_aware(model)
    q.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=False)
    q.fit(examples, np.zeros((len(examples), *model.output_shape[1:])), epochs=2, verbose=0)
    return q


@pytest.mark.parametrize("case", CELLS)
def test_file_computes_what_was_trained(case, tmp_path):
    inputs = keras.Input((STEPS, 5))
    model = keras.Model(inputs, CELLS[case]()(inputs))
    examples = np.random.default_rng(0).random((64, STEPS, 5), dtype="float32")
    q = trained(model, examples)
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=examples).report
    assert report.float_operations == ()
    # What a step rounds the other way goes on into the next one.
    assert report.agreement.largest <= 2 * STEPS
    assert report.agreement.within_one >= 0.98


def test_masked_steps_keep_the_state(tmp_path):
    inputs = keras.Input((STEPS,), dtype="int32")
    model = keras.Model(inputs, kl.GRU(4)(kl.Embedding(9, 4, mask_zero=True)(inputs)))
    tokens = np.random.default_rng(0).integers(0, 9, (64, STEPS)).astype("int32")
    q = trained(model, tokens)
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=tokens).report
    assert report.float_operations == ()
    assert report.agreement.within_one >= 0.98


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
