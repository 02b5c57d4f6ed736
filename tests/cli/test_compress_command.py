import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from calling import call
from started_script import StartedScript


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a trained classifier, its data, and an interrupted-looking search of it."""
    folder = tmp_path_factory.mktemp("compress")
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 128)
    x = (0.2 * generator.normal(size=(128, 4)) + np.eye(4)[y]).astype("float32")
    inputs = keras.Input((4,), name="features")
    hidden = keras.layers.Dense(16, activation="relu", name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss, jit_compile=False)
    model.fit(x, y, epochs=10, verbose=0)
    model.save(folder / "model.keras")
    np.savez(folder / "data.npz", x=x, y=y)
    np.savez(folder / "inputs.npz", x=x)
    np.savez(folder / "shifted.npz", x=x, y=y + 1)
    return folder


LINE = (
    "compress {f}/model.keras --data {f}/data.npz --validation-data {f}/data.npz --out {f}/search "
    "--target raspberry-pi-4 --epochs 1 --max-trials 1"
)


# As a terminal starts it: where these tests run in the background, SIGINT is ignored.
COMMAND = """
import os, signal
os.setsid()
signal.signal(signal.SIGINT, signal.default_int_handler)
from tfcompress.cli.entry import main
main()
"""


@pytest.mark.process
def test_within_the_budget_and_then_not(folder, capsys):
    line = LINE.format(f=folder)
    assert call(f"{line} --max-accuracy-drop 0.02") == 0
    shown = capsys.readouterr().out
    assert "trial 0: int8, not trained" in shown
    assert "The budget is met by trial 0" in shown
    stored = json.loads((folder / "search" / "result.json").read_text())
    assert call(f"{line} --max-latency 1e-9 --json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["trials"] == [
        {**trial, "shortfalls": found["trials"][0]["shortfalls"]} for trial in stored["trials"]
    ]
    assert found["shortfalls"]["latency"] == pytest.approx(found["trials"][0]["latency"] - 1e-9)
    assert (found["met"], found["best"], found["nearest"]) == (False, None, 0)


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_it_says_where_the_best_is(number, folder):
    out = folder / f"interrupted_{number}"
    line = LINE.format(f=folder).replace("/search", f"/interrupted_{number}")
    line = line.replace("--epochs 1 --max-trials 1", "--epochs 100000 --json")
    command = folder / "command.py"
    command.write_text(COMMAND)
    process = StartedScript(command, *line.split())
    try:
        end = time.monotonic() + 120
        while not (out / "result.json").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.2)
        os.killpg(process.pid, number)  # as a terminal does: to the children as well
        shown, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, shown) == (128 + number, ""), errors
    assert f"the best so far is {out}/best.tflite" in errors
    assert "Traceback" not in errors
    assert json.loads((out / "result.json").read_text())["nearest"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("raspberry-pi-4", "toaster"), "coral-edgetpu"),
        (("--data {f}/data.npz", "--data {f}/inputs.npz"), "`train_data` needs labels"),
        (("--validation-data {f}/data.npz", "--validation-data {f}/shifted.npz"), "3 classes"),
        (("--epochs 1", "--max-accuracy-drop -1"), "max_accuracy_drop=-1.0"),
        (("--epochs 1", "--max-size 5"), "without any weights"),
        (("--epochs 1", "--time-budget 0"), "time_budget=0.0"),
        (("--epochs 1", "--techniques magic"), "'magic'"),
        (("{f}/model.keras", "{f}/missing.keras"), "no such file"),
        (("--out {f}/search", "--out {f}/data.npz"), "choose another folder"),
    ],
)
def test_bad_input_is_one_line(change, message, folder, capsys):
    line = LINE.replace("{f}/search", "{f}/other").replace(
        change[0].replace("{f}/search", "{f}/other"), change[1]
    )
    assert call(line.format(f=folder)) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_missing_extra(folder, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "optuna" else found(name)
    )
    assert call(LINE.format(f=folder)) == 2
    assert "compress needs the extra 'search': pip install 'optuna" in capsys.readouterr().err


@pytest.mark.process
def test_help_of_the_installed_command():
    command = pathlib.Path(sys.executable).with_name("tfcompress")
    done = subprocess.run(
        [command, "compress", "--help"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0
    assert "--max-accuracy-drop 0.01" in done.stdout
    assert "The exit code is 1" in done.stdout
