import functools
import json
import subprocess
import sys

import pytest
import tensorflow as tf
from calling import call

from tfcompress.cli import quickstart as module
from tfcompress.datasets import sign_digits


@pytest.fixture
def short(monkeypatch):
    """Make a quickstart of seconds: few photos, few epochs, narrow networks."""
    (x_train, y_train), (x_test, y_test) = sign_digits.load_data()
    few = (x_train[::16], y_train[::16]), (x_test[::16], y_test[::16])
    monkeypatch.setattr(sign_digits, "load_data", lambda: few)
    monkeypatch.setattr(module, "TEACHER_EPOCHS", 1)
    monkeypatch.setattr(module, "STUDENT_EPOCHS", 1)
    monkeypatch.setattr(module, "COMPRESSION_EPOCHS", 5)
    for name in ("make_teacher", "make_student"):
        monkeypatch.setattr(module, name, functools.partial(getattr(module, name), width=8))


def test_quickstart_writes_what_it_measured(short, tmp_path, capsys):
    findings = module.quickstart(tmp_path, seed=0, html=True)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {
        "model_float.tflite",
        "model_int8.tflite",
        "report.json",
        "report.md",
        "report.html",
    }
    assert findings.file.float_operations == 0
    assert findings.file.size == (tmp_path / "model_int8.tflite").stat().st_size
    pruned = [
        layer.weights
        for layer in findings.layers
        if layer.operation in ("CONV_2D", "FULLY_CONNECTED")
    ]
    zeros, count = sum(w.zeros for w in pruned), sum(w.count for w in pruned)
    assert zeros / count >= module.FINAL_SPARSITY - 0.001
    assert findings.agreement.examples == 26
    assert all(layer.sqnr is not None for layer in findings.layers)

    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored["file"]["gzip_size"] == findings.file.gzip_size
    assert stored["compression_ratio"] == findings.compression_ratio
    assert [len(t["history"]["loss"]) for t in stored["trainings"]] == [1, 1, 5]

    page = (tmp_path / "report.html").read_text()
    assert f"{findings.file.gzip_size:,}" in page
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")

    printed = capsys.readouterr().out
    assert "compressed student: epoch 5/5" in printed
    assert f"{findings.file.size:,}" in printed


class Found:
    def to_json(self):
        return {"seed": 3}


def test_json_is_all_that_the_command_prints(tmp_path, capsys, monkeypatch):
    asked = []

    def quickstart(*arguments, **keywords):
        asked.extend([*arguments, keywords])
        return Found()

    monkeypatch.setattr(module, "quickstart", quickstart)
    # It stays for the rest of the process.
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: None)
    assert call(f"quickstart --out {tmp_path} --seed 3 --html --json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"seed": 3}
    assert captured.err == ""
    assert asked == [tmp_path, 3, True, {"progress": False}]


# Ends a command where it first imports TensorFlow, with 0 if Keras was there before.
_FIRST_IMPORT = """
import os, sys
class Watch:
    def find_spec(self, name, path, target=None):
        if name == "tensorflow":
            os._exit("keras" not in sys.modules)
sys.meta_path.insert(0, Watch())
from tfcompress.cli.entry import main
main()
os._exit(2)
"""


def test_keras_loads_its_backend_before_tensorflow(tmp_path):
    # PyTorch crashes the process where it is loaded after TensorFlow.
    command = [sys.executable, "-c", _FIRST_IMPORT, "quickstart", "--out", str(tmp_path / "out")]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
