"""The files that examples in docstrings and pages read."""

import keras
import prepared_names
import pytest


@pytest.fixture(scope="session")
def prepared_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    prepared_names.write_files(folder)
    return folder


@pytest.fixture
def lay_out(prepared_files, tmp_path, monkeypatch):
    """Return what makes a piece of code find its files, in a folder of its own.

    XLA is left out: it would compile for longer than the tiny models train.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keras.Model, "_resolve_auto_jit_compile", lambda self: False)

    def prepare(code):
        prepared_names.lay_out(prepared_files, tmp_path, code)

    return prepare
