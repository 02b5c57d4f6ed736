"""Calls in a process of their own: what they import, and what they leave behind."""

import threading

import keras
import pytest

from tfcompress import on_tensorflow
from tfcompress.post_training import PrunedLayer, PruningReport


def test_folders_of_the_working_directory_are_no_packages(tmp_path, monkeypatch):
    # Keras looks for jax, and would take this folder for it.
    (tmp_path / "jax").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(on_tensorflow, "runs_here", lambda: False)
    assert on_tensorflow.call_on_tensorflow("math", "sqrt", 4.0) == 2.0


def test_what_cannot_be_sent_leaves_no_file_to_read(tmp_path):
    with pytest.raises(TypeError, match="pickle"):
        on_tensorflow._Pickler(tmp_path).write("answer.pickle", threading.Lock())
    assert not (tmp_path / "answer.pickle").exists()


def test_reports_come_back_with_their_model(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="end")])
    model.pruning_report = PruningReport((PrunedLayer("end", 0.5, 12.0),))
    on_tensorflow._Pickler(tmp_path).write("answer.pickle", (False, model))
    failed, found = on_tensorflow._Unpickler(tmp_path).read("answer.pickle")
    assert not failed
    assert found.pruning_report == model.pruning_report
    assert not hasattr(found, "repair_report")
