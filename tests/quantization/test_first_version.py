"""Quantization-aware models that the first version has saved."""

import pathlib

import keras
import numpy as np
import pytest

import tfcompress  # noqa: F401 - registers the classes of the files
from exporters import export_tflite

FILES = pathlib.Path(__file__).parent / "first_version"


@pytest.mark.parametrize("name", ["plain", "steps"])
def test_files_of_the_first_version_load_predict_and_export(name, tmp_path):
    quantized = keras.models.load_model(FILES / f"{name}.keras")
    x = np.random.default_rng(0).random((32, 12, 4), dtype="float32")
    outputs = quantized.predict(x, verbose=0)
    before = np.load(FILES / f"{name}.npy")
    # The first version rounded in float: now and then to the other side, which travels on.
    assert np.abs(outputs - before).max() <= 6 * np.ptp(before) / 255
    report = export_tflite(quantized, tmp_path / "m.tflite", validation_data=x).report
    assert report.float_operations == ()
    assert report.agreement.equal == 1.0
