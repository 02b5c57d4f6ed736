import importlib.util
import json
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from calling import call

from exporters import export_tflite


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report_command")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(x), name="toy")
    model.save(folder / "model.keras")
    generator = np.random.default_rng(0)
    x, y = generator.random((40, 8, 8, 3), dtype="float32"), generator.integers(0, 3, 40)
    np.savez(folder / "data.npz", x=x, y=y)
    export_tflite(model, folder / "float.tflite", "float32", validation_data=x)
    export_tflite(model, folder / "int8.tflite", "int8", representative_data=x)
    (folder / "history.json").write_text(json.dumps({"loss": [1.0, 0.5]}))
    return folder


def test_a_report_of_everything(folder, capsys):
    line = f"report {folder}/int8.tflite --out {folder}/report --runs 2 --target raspberry-pi-4"
    line += f" --model {folder}/model.keras --baseline {folder}/float.tflite"
    line += f" --data {folder}/data.npz --examples 30 --history {folder}/history.json"
    assert call(line) == 0
    captured = capsys.readouterr()
    assert "taken as it is by raspberry-pi-4" in captured.out
    assert captured.err == ""
    stored = json.loads((folder / "report" / "report.json").read_text())
    assert stored["agreement"]["examples"] == 30
    assert {name.rsplit("/", 1)[1] for name in stored["sources"]} == {
        "int8.tflite",
        "float.tflite",
        "model.keras",
        "data.npz",
        "history.json",
    }
    assert stored["command"].startswith("tfcompress ")
    assert (folder / "report" / "report.html").is_file()


def test_json_is_the_report(folder, capsys):
    line = f"report {folder}/int8.tflite --out {folder}/bare --runs 0 --json"
    assert call(line) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((folder / "bare" / "report.json").read_text())
    assert printed["agreement"] is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("report {f}/int8.tflite", "--out"),
        ("report {f}/missing.tflite --out {f}/r", "missing.tflite"),
        ("report {f}/int8.tflite --out {f}/r --target toaster", "raspberry-pi-4"),
        ("report {f}/int8.tflite --out {f}/r --history {f}/data.npz", "JSON"),
        ("report {f}/int8.tflite --out {f}/r --search {f}", "result.json"),
        ("report {f}/int8.tflite --out {f}/r --data {f}/data.npz --examples 0", "Received: 0"),
        ("report {f}/int8.tflite --out {f}/int8.tflite/r", "choose another folder"),
    ],
)
def test_bad_input_is_one_line(line, message, folder, capsys):
    assert call(line.format(f=folder)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


@pytest.mark.process
def test_a_file_alone_needs_no_tensorflow(folder):
    code = (
        "import sys, tfcompress.cli.main as m\n"
        f"line = 'report {folder}/int8.tflite --baseline {folder}/float.tflite --runs 1'\n"
        f"line += ' --data {folder}/data.npz --out {folder}/alone'\n"
        "try: m.run(line.split())\n"
        "except SystemExit as ended: print(ended.code)\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "alone" / "report.html").is_file()


def test_a_missing_extra_is_named_before_the_work(folder, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name)
    )
    assert call(f"report {folder}/int8.tflite --out {folder}/none") == 2
    said = capsys.readouterr().err
    assert re.search("A report needs the extra 'report': pip install '(jinja2|matplotlib)", said)
    assert not (folder / "none").exists()
