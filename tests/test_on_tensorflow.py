"""Calls in a process of their own: what they import, and what they leave behind."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

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


def test_a_dataset_arrives_as_one(tmp_path):
    x, y = np.arange(10.0, dtype="float32").reshape(5, 2), np.arange(5)
    sent = tf.data.Dataset.from_tensor_slices(({"image": x}, y)).batch(2)
    on_tensorflow._Pickler(tmp_path).write("call.pickle", sent)
    found = on_tensorflow._Unpickler(tmp_path).read("call.pickle")
    assert found.element_spec == sent.element_spec
    assert found.cardinality() == 3
    for _ in range(2):  # epochs
        batches = list(found.as_numpy_iterator())
        np.testing.assert_array_equal(np.concatenate([b[0]["image"] for b in batches]), x)
        np.testing.assert_array_equal(np.concatenate([b[1] for b in batches]), y)
