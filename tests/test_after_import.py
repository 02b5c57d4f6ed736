import importlib
import importlib.util
import subprocess
import sys

import pytest

from tfcompress.after_import import after_import


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that nobody has imported."""
    name = "imported_later"
    (tmp_path / f"{name}.py").write_text("VALUE = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_it_runs_once_when_the_package_is_there(package):
    finders, calls = list(sys.meta_path), []
    after_import(package, lambda: calls.append(sys.modules[package].VALUE))
    assert importlib.util.find_spec(package).name == package  # looking is not importing
    assert calls == []
    module = importlib.import_module(package)
    assert calls == [7]
    assert type(module.__loader__) is importlib.machinery.SourceFileLoader
    assert module.__spec__.loader is module.__loader__
    importlib.reload(module)
    assert calls == [7]
    assert sys.meta_path == finders


def test_two_may_wait_for_one_package(package):
    calls = []
    for number in (1, 2):
        after_import(package, lambda number=number: calls.append(number))
    importlib.import_module(package)
    assert sorted(calls) == [1, 2]


def test_it_waits_for_the_module_that_imports_the_package(package, tmp_path):
    (tmp_path / "reader.py").write_text(f"import {package}\nNAME = 5\n")
    seen = []
    after_import(package, lambda: seen.append(importlib.import_module("reader").NAME), ["reader"])
    importlib.import_module("reader")
    assert seen == [5]
    del sys.modules["reader"]


@pytest.mark.process
@pytest.mark.parametrize(
    "module", ["tfcompress.backends", "tfcompress.pruning.schedules", "keras_callbacks.scheduled"]
)
def test_any_module_may_be_the_first_that_is_imported(module):
    code = f"import {module}, keras, sys; print('tfcompress.pruning.masks' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True"]


def test_it_runs_at_once_for_what_is_imported():
    calls = []
    after_import("sys", lambda: calls.append(1))
    assert calls == [1]


def test_an_import_that_is_refused_fails(package):
    def refuse():
        raise ImportError("too old")

    after_import(package, refuse)
    with pytest.raises(ImportError, match="too old"):
        importlib.import_module(package)


def test_a_package_that_is_missing_stays_missing(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    after_import("imported_never", list)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("imported_never")


def test_importing_the_package_is_light():
    code = "import sys, tfcompress; print(*sorted({'asyncio', 'keras', 'numpy'} & {*sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
