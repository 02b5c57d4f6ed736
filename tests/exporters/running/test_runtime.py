import io
import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import toy_files

from exporters.running import child, child_process, runtime
from exporters.running.runtime import KERNELS, Limits, RunError, Runtime, load, load_isolated
from tfcompress.tflite import numerics
from tfcompress.tflite.editing import OperationCutter
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import FlatbufferError


@pytest.fixture
def int8_path(tmp_path):
    path = tmp_path / "int8.tflite"
    path.write_bytes(toy_files.content("int8"))
    return path


def test_finds_what_is_installed_without_importing_it():
    code = (
        "import sys; from exporters.running.runtime import find_runtimes; print(*find_runtimes()); "
        "print([m for m in ('tensorflow', 'keras', 'ai_edge_litert.interpreter') "
        "if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    found, imported = answer.stdout.splitlines()
    assert found.startswith("ai-edge-litert 2.3")
    assert "tensorflow 2.21" in found
    assert imported == "[]"


def test_another_python_is_asked_about_its_own():
    here = runtime.find_runtimes()
    same = runtime.find_runtimes(os.path.relpath(sys.executable))
    assert [(r.name, r.version) for r in same] == [(r.name, r.version) for r in here]
    assert all(r.here for r in here)
    assert not any(r.here for r in same)


def test_unknown_and_missing_runtimes_are_told_apart(monkeypatch):
    with pytest.raises(ValueError, match=r"Unknown runtime.*'tvm'"):
        runtime.find_runtime("tvm")
    if not any(found.name == "tflite-runtime" for found in runtime.find_runtimes()):
        with pytest.raises(RuntimeError, match="tflite-runtime is installed"):
            runtime.find_runtime("tflite-runtime")


@pytest.mark.parametrize("kernels", list(KERNELS))
def test_child_and_process_compute_the_same(int8_path, kernels):
    images = toy_files.images()[:8]
    with (
        load(int8_path, kernels=kernels) as here,
        load_isolated(int8_path, kernels=kernels) as there,
    ):
        expected = here.predict(images, real=False)[0]
        np.testing.assert_array_equal(there.predict(images, real=False)[0], expected)
        assert expected.shape == (8, toy_files.CLASSES)
        assert expected.dtype == np.int8


def test_the_float_file_computes_what_keras_computes():
    images = toy_files.images()[:8]
    with load(toy_files.content("float32")) as loaded:
        expected = np.asarray(toy_files.model()(images, training=False))
        np.testing.assert_allclose(loaded.predict(images)[0], expected, atol=1e-5)


def test_inputs_go_by_the_names_of_the_signature():
    images = toy_files.images()[:2]
    with load(toy_files.content("float32")) as loaded:
        assert [details.name for details in loaded.inputs] == ["image"]
        named = loaded.predict({"image": images})[0]
        np.testing.assert_array_equal(named, loaded.predict([images])[0])
        with pytest.raises(ValueError, match=r"inputs are \['image'\]"):
            loaded.predict({"picture": images})


def test_a_signature_runs_by_its_key(shared):
    path = shared / "models" / "litert_testdata" / "multi_signatures.bin"
    with load_isolated(path) as main:
        key = main.model.signatures[1].key
    with load_isolated(path, signature=key) as loaded:
        (details,) = loaded.inputs
        assert loaded.run([np.ones(details.shape, details.dtype)])[0].shape == (1,)
    with pytest.raises(ValueError, match="signatures are"):
        load_isolated(path, signature="none")


def test_quantized_inputs_pass_and_real_ones_are_rounded(int8_path):
    images = toy_files.images()[:4]
    with load(int8_path) as loaded:
        (details,) = loaded.inputs
        quantized = numerics.quantize(images, details.scale, details.zero_point, np.int8)
        np.testing.assert_array_equal(loaded.predict(quantized)[0], loaded.predict(images)[0])


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (np.zeros((2, 5, 5, 3), np.float32), "takes examples of shape"),
        (np.zeros((0, 12, 12, 3), np.float32), "at least one"),
        (np.full((1, 12, 12, 3), np.nan, np.float32), "finite"),
        ([np.zeros((1, 12, 12, 3), np.float32)] * 2, "2 arrays"),
    ],
)
def test_examples_that_do_not_fit_are_refused(int8_path, examples, message):
    with load(int8_path) as loaded, pytest.raises(ValueError, match=message):
        loaded.predict(examples)


def test_run_takes_exactly_what_the_file_takes(int8_path):
    with load(int8_path) as loaded:
        assert loaded.run([np.zeros((1, 12, 12, 3), np.int8)])[0].shape == (1, toy_files.CLASSES)
        with pytest.raises(ValueError, match=r"takes shape .* of int8"):
            loaded.run([np.zeros((1, 12, 12, 3), np.float32)])
        with pytest.raises(ValueError, match="has 1 inputs"):
            loaded.run([])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernels": "cuda"}, "Unknown kernel set"),
        ({"threads": 0}, "`threads` must be at least 1"),
    ],
)
def test_settings_are_checked(int8_path, settings, message):
    with pytest.raises(ValueError, match=message):
        load(int8_path, **settings)


def test_the_runtime_of_another_python_runs_in_a_child_alone(int8_path):
    other = Runtime("ai-edge-litert", "2.3.0", python=os.path.relpath(sys.executable))
    with pytest.raises(ValueError, match="use load_isolated"):
        load(int8_path, other)
    with load_isolated(int8_path, other) as loaded:
        assert loaded.predict(toy_files.images()[:1])[0].shape == (1, toy_files.CLASSES)


def child_of(tmp_path, code, limits=None):
    """A child whose runtime is a module of the test's own."""
    (tmp_path / "fake_runtime.py").write_text(code)
    return child_process.Child(sys.executable, "fake_runtime", limits or Limits(seconds=5))


FAKE = """
import ctypes, enum, os, sys, time
class OpResolverType(enum.Enum):
    AUTO = 1; BUILTIN_REF = 2; BUILTIN_WITHOUT_DEFAULT_DELEGATES = 3
class Interpreter:
    def __init__(self, **_): {what}
    def allocate_tensors(self): pass
"""
LOAD = {
    "do": "load",
    "settings": {"module": "fake_runtime", "kernels": "xnnpack", "threads": 1, "inputs": []}
    | {"outputs": []},
}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("os.abort()", "ended with SIGABRT on load"),
        ("ctypes.string_at(0)", "ended with SIGSEGV on load"),
        ("print('last words', file=sys.stderr, flush=True); os._exit(7)", "code 7.*last words"),
        ("time.sleep(60)", "longer than 2 s to load"),
        ("self.memory = bytearray(1 << 32)", "more than its 256 MiB to load"),
        ("raise ValueError('unknown operation')", "could not load the file: unknown operation"),
        ("os.write(3, b'x' * 4096); time.sleep(60)", "invalid answer|longer than"),
    ],
)
def test_whatever_happens_in_the_child_is_an_error_here(tmp_path, monkeypatch, what, message):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    limits = Limits(seconds=2, memory=256 << 20)
    with (
        child_of(tmp_path, FAKE.format(what=what), limits) as child,
        pytest.raises(RunError, match=f"(?s){message}"),
    ):
        child.request(LOAD, [np.zeros(1, np.uint8)])


def test_what_a_runtime_prints_does_not_reach_the_messages(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with child_of(tmp_path, FAKE.format(what="os.write(1, b'hello'); print('hi')")) as child:
        answer, arrays = child.request(LOAD, [np.zeros(1, np.uint8)])
        assert answer["peak_memory"] > 0
        assert arrays == []


def test_a_runtime_that_cannot_be_imported_is_an_error():
    with pytest.raises(RunError, match="no_such_runtime"):
        child_process.Child(sys.executable, "no_such_runtime", Limits())


def test_a_dead_child_is_replaced(int8_path):
    found = runtime.find_runtime()
    with runtime.Children() as children:
        first = children.of(found)
        assert children.of(found) is first
        first.close()
        assert children.of(found) is not first


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"memory": -1}])
def test_limits_are_checked(limits):
    with pytest.raises(ValueError, match="Received"):
        Limits(**limits)


def test_damaged_files_start_no_process(monkeypatch):
    monkeypatch.setattr(runtime, "start_child", lambda *_: pytest.fail("started a process"))
    with pytest.raises(FlatbufferError):
        load_isolated(toy_files.content("int8")[:500])


def test_messages_come_back():
    arrays = [np.arange(6.0).reshape(2, 3), np.array(b"ab"), np.zeros((0, 2), np.int8)]
    pieces = b"".join(bytes(piece) for piece in child.pack({"a": [1, None]}, arrays))
    stream = iter_bytes(pieces)
    body, found = child.unpack(stream)
    assert body == {"a": [1, None]}
    for array, expected in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    "arrays", [[["|O", [1]]], [["<f8", [-1]]], [["<f8", [1 << 60]]], [["V8", [1]]]]
)
def test_messages_that_claim_too_much_are_refused(arrays):
    header = json.dumps({"body": {}, "arrays": arrays}).encode()
    with pytest.raises(ValueError, match="an array of type"):
        child.unpack(iter_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 64))


def iter_bytes(data):
    return io.BytesIO(data).read


def test_rounding_is_away_from_zero():
    values = np.array([0.5, -0.5, 1.5, 2.5, 0.49999997, -2.5, 8388609.0], np.float32)
    expected = [1, -1, 2, 3, 0, -3, 8388609]
    np.testing.assert_array_equal(numerics.round_half_away(values), expected)


def test_quantizing_clips_and_refuses_nan():
    found = numerics.quantize(np.array([-1e9, 0, 0.25, 1e9]), 0.5, 3, np.int8)
    np.testing.assert_array_equal(found, [-128, 3, 4, 127])
    with pytest.raises(ValueError, match="1 NaN or infinite values of 2"):
        numerics.quantize(np.array([0, np.inf]), 1.0, 0, np.int8)


def test_quantizing_agrees_with_the_runtimes_own_operation():
    """The QUANTIZE kernel on a file whose input is float and whose output is int8."""
    content = toy_files.content("int8 float io")
    cut = OperationCutter(content, read_model(content)).cut(0)
    values = np.random.default_rng(0).uniform(-0.1, 1.1, (1, 12, 12, 3)).astype(np.float32)
    with load(cut, kernels="reference") as loaded:
        (details,) = loaded.outputs
        expected = loaded.run([values])[0]
    np.testing.assert_array_equal(
        numerics.quantize(values, details.scale, details.zero_point, details.dtype), expected
    )


def test_public_names_are_functions_whatever_was_imported_before():
    """A module of the same name as a function would hide it."""
    import exporters
    import exporters.bundle

    for name in exporters.__all__:
        assert callable(getattr(exporters, name)), name
