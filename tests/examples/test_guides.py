"""The deployment guides: their code runs, as far as it can without the device."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers as kl

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
# What needs a device, an old Python, a vendor's SDK or a quarter of an hour is only parsed.
ONLY_PARSED = ("pycoral", "load_delegate", "compile_for_soc", "tfc.compress(")


def python_blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def what_the_guides_take():
    net = keras.Sequential(
        [
            keras.Input((12, 12, 3), name="photo"),
            kl.Conv2D(8, 3, strides=2, activation="relu", name="stem"),
            kl.GlobalAveragePooling2D(),
            kl.Dense(3, name="head"),
        ]
    )
    x = np.random.default_rng(0).uniform(-1, 1, (64, 12, 12, 3)).astype("float32")
    return {"model": net, "x": x, "y": np.arange(64) % 3, "labels": ["a", "b", "c"]}


@pytest.mark.process
@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_the_code_of_a_guide_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = what_the_guides_take()
    for code in python_blocks(path):
        program = compile(code, path.name, "exec")
        if any(name in code for name in ONLY_PARSED):
            continue
        if '"micro"' in code and importlib.util.find_spec("tflite_micro") is None:
            continue
        if "from inference import" in code:  # in the folder of the bundle, as on the board
            np.save("x.npy", space["x"])
            program = f"import numpy as np\nx = np.load('../x.npy')\n{code}"
            answer = subprocess.run(
                [sys.executable, "-c", program], cwd="bundle", capture_output=True, check=False
            )
            assert answer.returncode == 0, answer.stderr.decode()
            assert int(answer.stdout) in range(3)
            continue
        exec(program, space)
    assert (tmp_path / "model.tflite").is_file()
    assert space["result"].report.float_operations == ()


@pytest.mark.process
def test_the_bundle_of_a_guide_passes(tmp_path):
    path = next(path for path in GUIDES if path.stem == "raspberry_pi")
    space = what_the_guides_take()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(python_blocks(path)[0], space)
    answer = subprocess.run(
        [sys.executable, "run_on_device.py", "--threads", "1"],
        cwd=tmp_path / "bundle",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PASS" in answer.stdout, answer.stderr


@pytest.mark.process
def test_kernels_for_microcontrollers_agree(tmp_path, monkeypatch):
    runtime = pytest.importorskip("tflite_micro", reason="needs tflite-micro").runtime
    path = next(path for path in GUIDES if path.stem == "microcontrollers")
    monkeypatch.chdir(tmp_path)
    exec(python_blocks(path)[0], what_the_guides_take())
    golden = np.load("bundle/golden.npz")
    interpreter = runtime.Interpreter.from_file("bundle/model.tflite", arena_size=1 << 20)
    for given, wanted in zip(golden["input_0"], golden["output_0"], strict=True):
        interpreter.set_input(given, 0)
        interpreter.invoke()
        np.testing.assert_array_equal(interpreter.get_output(0), wanted)
