"""Bundles on Raspberry Pis of 64 and 32 bits, emulated: ``make emulate``."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import arm_root
import keras
import numpy as np
import pytest
import toy_files

from exporters import write_bundle
from exporters.converting import convert_model

pytestmark = [pytest.mark.emulation, pytest.mark.process]


@pytest.fixture(scope="session")
def emulated():
    """Return emulated boards by their kind, each made on its first run."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))

    @functools.cache
    def made(kind):
        try:
            return arm_root.build(cache / "tfcompress", kind)
        except arm_root.UnavailableError as error:
            pytest.skip(f"skipped: {error}")

    return made


def toy(kind):
    return lambda shared: (toy_files.content(kind), toy_files.images()[:16])


def recurrent(shared):
    """A fused LSTM, which keeps its state between runs unless it is reset."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8, 4)), keras.layers.LSTM(8), keras.layers.Dense(3)])
    data = np.random.default_rng(0).standard_normal((64, 8, 4)).astype(np.float32)
    return convert_model(model, "int8", representative_data=data).flatbuffer, data[:16]


def keyword_spotting(shared):
    path = shared() / "models" / "mlperf_tiny" / "kws01_dscnn_int8_reference.tflite"
    samples = np.load(shared() / "data" / "kws01_test1000_mfcc_int8.npz")["x"][:16]
    return path.read_bytes(), samples


@pytest.mark.parametrize(
    ("kind", "runtime"),
    [(kind, runtime) for kind, board in arm_root.BOARDS.items() for runtime in board.runtimes],
)
@pytest.mark.parametrize(
    "model",
    [toy("int8"), toy("float32"), recurrent, keyword_spotting],
    ids=["int8", "float32", "lstm", "kws"],
)
def test_the_verdict_is_the_one_of_this_computer(emulated, request, tmp_path, model, kind, runtime):
    content, examples = model(lambda: request.getfixturevalue("shared"))
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    bundle = write_bundle(path, tmp_path / "bundle", examples=examples)
    program = [str(bundle / "run_on_device.py"), "--json", "--runs", "8"]
    here = subprocess.run([sys.executable, *program], capture_output=True, text=True, check=False)
    there = emulated(kind).run([*program, "--runtime", runtime], runtime)
    assert there.stdout, there.stderr
    ours, theirs = json.loads(here.stdout), json.loads(there.stdout)
    for report in (ours, theirs):
        for output in report["outputs"]:
            print(
                f"{report['runtime']} on {report['machine']}: "
                f"{'PASS' if report['pass'] else 'FAIL'}, "
                f"{output['equal']:.1%} equal, {output['within']:.1%} within the tolerance, "
                f"largest {output['largest']:g} steps"
            )
    machine = arm_root.BOARDS[kind].wheels
    assert (ours["machine"], theirs["machine"]) == ("x86_64", machine)
    assert theirs["runtime"] == runtime
    assert ours["pass"]
    assert theirs["pass"] == ours["pass"]
    assert theirs["outputs"][0]["within"] >= 0.99
