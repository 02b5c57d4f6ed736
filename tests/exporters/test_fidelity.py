"""Files that are far from the float model: the export says so, and names the layer."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from keras import ops

import tfcompress as tfc
from exporters import export_tflite

ROWS = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")


@pytest.mark.parametrize("trained", [False, True])
def test_the_layer_whose_scale_is_too_coarse_is_named(trained, tmp_path):
    inputs = keras.Input((4,))
    logits = kl.Dense(2)(inputs) * 0.1 + np.float32([4.0, 0.0])
    # The step of LOG_SOFTMAX is 1/16: the logarithm of a probability of 98 % is less.
    model = keras.Model(inputs, ops.log_softmax(logits)[:, :1])
    if trained:
        model = tfc.quantize_aware(model).calibrate(ROWS)
    with pytest.warns(UserWarning, match=r"part, .* of what layer 'log_softmax\w*' \(LOG_SOFT"):
        report = export_tflite(model, tmp_path / "m.tflite", representative_data=ROWS).report
    assert report.fidelity.is_low
    assert report.fidelity.weakest.sqnr < 15 < report.fidelity.weakest.inherited
    assert "to the float model: " in str(report)


def test_the_layer_that_takes_almost_all_away_is_named(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, kl.Subtract()([kl.ReLU()(inputs + 999.0), 0.0 * inputs + 999.0]))
    with pytest.warns(UserWarning, match=r"Layer 'subtract\w*' \(SUB\) is the first"):
        export_tflite(model, tmp_path / "m.tflite", representative_data=ROWS, repair=False)


@pytest.mark.parametrize("trained", [False, True])
def test_ranges_of_too_few_examples_are_told(trained, tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, kl.Dense(3, name="head")(kl.ReLU()(inputs)))
    few = 0.2 * ROWS[:4]
    if trained:
        model = tfc.quantize_aware(model).calibrate(few)
    with pytest.warns(UserWarning, match=r"lie beyond the range .* more examples") as told:
        export_tflite(
            model,
            tmp_path / "m.tflite",
            representative_data=few,
            validation_data=ROWS,
            repair=False,
        )
    assert not [warning for warning in told if "int16x8" in str(warning.message)]


@pytest.mark.parametrize("trained", [False, True])
def test_layers_that_integers_compute_otherwise_are_not_blamed(trained, tmp_path):
    inputs = keras.Input((4,))
    x = kl.LayerNormalization()(kl.Dense(4)(inputs))
    model = keras.Model(inputs, kl.Subtract()([kl.ReLU()(x + 999.0), 0.0 * x + 999.0]))
    if trained:
        model = tfc.quantize_aware(model).calibrate(ROWS)
    path = tmp_path / "m.tflite"
    with pytest.warns(UserWarning, match=r"Layer 'subtract\w*' \(SUB\) is the first"):
        report = export_tflite(model, path, representative_data=ROWS, repair=False).report
    assert 20 < report.fidelity.weakest.inherited < 60


def test_values_too_small_for_a_range_are_told(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, ops.square(inputs * 1e-7) * 1e14)
    with pytest.warns(UserWarning, match="No range is less than 1e-12: scale such values up"):
        export_tflite(model, tmp_path / "m.tflite", representative_data=ROWS, repair=False)


def test_16_bits_are_not_advised_to_a_file_that_has_them(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, kl.Subtract()([kl.ReLU()(inputs + 9e5), 0.0 * inputs + 9e5]))
    with pytest.warns(UserWarning, match="computes something else") as told:
        export_tflite(model, tmp_path / "m.tflite", "int16x8", representative_data=ROWS)
    assert not [warning for warning in told if "int16x8" in str(warning.message)]


def test_both_comparisons_of_a_good_file_are_in_the_report(tmp_path, recwarn):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, kl.Dense(3)(inputs))
    quantized = tfc.quantize_aware(model).calibrate(ROWS)
    report = export_tflite(quantized, tmp_path / "m.tflite", representative_data=ROWS).report
    assert not [w for w in recwarn if "float model" in str(w.message)]
    assert report.agreement.equal == 1.0
    (ratio,) = report.fidelity.decibels.values()
    exact, found = model.predict(ROWS, verbose=0), quantized.predict(ROWS, verbose=0)
    assert ratio == pytest.approx(10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()))
