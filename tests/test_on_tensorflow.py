"""Calls in a process of their own: what they import, and what they leave behind."""

import threading

import pytest

from tfcompress import on_tensorflow


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
