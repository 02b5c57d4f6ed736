"""Files that tf_keras has saved."""

import json
import sys
import zipfile

import keras
import numpy as np
import pytest
from small_tf_keras_nets import inputs_for, randomize, signal_net

import tfcompress as tfc
from tfcompress.cli.model_argument import load_model
from tfcompress.legacy.files import is_tf_keras_file


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_saved_model_is_loaded_and_rebuilt(tmp_path, suffix):
    model = randomize(signal_net())
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    assert is_tf_keras_file(path)
    x = inputs_for(model)
    rebuilt = tfc.from_tf_keras(load_model(str(path)))  # as the command line loads it
    np.testing.assert_allclose(rebuilt(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_file_of_keras_3_is_told_apart(tmp_path):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "model.keras")
    assert not is_tf_keras_file(tmp_path / "model.keras")


def test_a_file_that_needs_tfmot_says_so_where_it_is_missing(tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.21.0"}))
        archive.writestr("config.json", json.dumps({"class_name": "PruneLowMagnitude"}))
    # What Python finds there stands for a package that is not installed.
    monkeypatch.setitem(sys.modules, "tensorflow_model_optimization", None)
    with pytest.raises(ImportError, match=r"PruneLowMagnitude.*the extra 'tfmot': pip install"):
        tfc.load_tf_keras(path)
