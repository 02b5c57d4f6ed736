"""What needs a process of its own."""

import json
import pathlib
import time

import keras
import numpy as np
import pytest
from keras import layers
from started_script import StartedScript

from tfcompress.distillation import cache_teacher

HERE = pathlib.Path(__file__).parent


@pytest.mark.process
def test_a_cache_survives_a_kill(tmp_path):
    teacher = keras.Sequential([keras.Input((4,)), layers.Dense(8), layers.Dense(3)])
    teacher.save(tmp_path / "teacher.keras")
    x = np.random.default_rng(0).normal(size=(200, 4)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    folder = tmp_path / "cache"
    arguments = [tmp_path / "teacher.keras", tmp_path / "x.npy", folder, "0.3"]
    process = StartedScript(HERE / "slow_cache.py", *arguments)
    try:
        wait_for_rows(folder, at_least=20)
    finally:
        process.kill()
        process.wait()
    done = json.loads((folder / "manifest.json").read_text())["done"]
    assert 20 <= done < 200
    rows = np.load(folder / "output_0.npy", mmap_mode="r+")
    # Marked, to see that the rows which the killed run has stored are not computed again.
    rows[:done] = 7.0
    rows.flush()
    cache_teacher(teacher, x, folder, batch_size=10, progress=False)
    expected = teacher.predict(x, verbose=0)
    stored = np.load(folder / "output_0.npy")
    np.testing.assert_array_equal(stored[:done], np.full((done, 3), 7.0))
    np.testing.assert_allclose(stored[done:], expected[done:], rtol=1e-4, atol=1e-6)


def wait_for_rows(folder, at_least):
    """Wait until a cache holds some rows; return how many."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        manifest = folder / "manifest.json"
        done = json.loads(manifest.read_text())["done"] if manifest.exists() else 0
        if done >= at_least:
            return done
        time.sleep(0.05)
    raise AssertionError("no rows within a minute")
