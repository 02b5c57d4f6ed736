"""The wheel that is built of this tree, in an environment of its own.

The environment sees the libraries of the one that runs the tests, but nothing of the checkout. So
the test needs no network; the one marked `network` installs everything from the index.
"""

import os
import pathlib
import shutil
import site
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
PACKAGES = ("tfcompress", "exporters", "keras_callbacks")
FIRST_USE = """
import sys
for name in ("tf_keras", "tensorflow_model_optimization", *sys.argv[1:]):
    sys.modules[name] = None  # as if it were not installed

import keras, numpy as np, tfcompress as tfc
from exporters import export_tflite
from keras_callbacks import QuantizationSchedule

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
quantized = tfc.quantize_aware(model)
quantized.compile("sgd", "mse")
quantized.fit(x, x[:, :2], verbose=0)
print(export_tflite(quantized, "model.tflite", validation_data=x).report.agreement is not None)
print(tfc.__file__)
"""


def run(*command, folder, **settings):
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [os.fspath(part) for part in command],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env={**inherited, "TF_CPP_MIN_LOG_LEVEL": "3"},
        **settings,
    ).stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel in a copy: setuptools leaves what it built in the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, folder / "source")
    offline = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run(sys.executable, "-m", "pip", "wheel", *offline, "./source", "-w", ".", folder=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel):
    """Install it into a new environment that finds the libraries of this one."""
    place = wheel.parent / "venv"
    run(sys.executable, "-m", "venv", place, folder=wheel.parent)
    python = place / "bin/python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, folder=place)
    asked = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    packages = pathlib.Path(run(python, "-c", asked, folder=place).strip())
    (packages / "libraries.pth").write_text("\n".join(site.getsitepackages()))
    return place


@pytest.mark.process
def test_the_wheel_trains_and_exports_without_extras(environment, tmp_path):
    python = environment / "bin/python"
    extras = ("optuna", "sklearn", "matplotlib", "jinja2", "backports.zstd")
    proven, place = run(python, "-c", FIRST_USE, *extras, folder=tmp_path).split()
    assert proven == "True"
    assert pathlib.Path(place).is_relative_to(environment)


@pytest.mark.process
def test_the_wheel_brings_the_command_and_its_files(environment, tmp_path):
    command = environment / "bin/tfcompress"
    assert run(command, "--version", folder=tmp_path).startswith("tfcompress ")
    script = "import tfcompress.targets as t; print(*t.list_targets())"
    known = run(environment / "bin/python", "-c", script, folder=tmp_path)
    assert "coral-edgetpu" in known.split()


@pytest.mark.network
def test_the_wheel_and_its_requirements_come_from_the_index(wheel, tmp_path):
    run(sys.executable, "-m", "venv", "new", folder=tmp_path)
    python = tmp_path / "new/bin/python"
    run(python, "-m", "pip", "install", "--quiet", wheel, folder=tmp_path)
    assert run(python, "-c", FIRST_USE, folder=tmp_path).split()[0] == "True"
    listed = run(python, "-m", "pip", "list", folder=tmp_path)
    assert "tf-keras" not in listed.replace("_", "-").lower()
