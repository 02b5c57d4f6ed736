"""Two worker processes on one machine train as one, with Keras's own `fit`."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import tfcompress as tfc

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "multi_worker.py"


@pytest.mark.process
def test_masks_and_ranges_are_equal_on_both_workers(tmp_path):
    answer = subprocess.run(
        [sys.executable, EXAMPLE, "--smoke", "--out", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    ends = []
    for index in range(2):
        with np.load(tmp_path / f"worker_{index}.npz") as file:
            ends.append({name: file[name] for name in file.files})
    assert ends[0].keys() == ends[1].keys()
    for name, value in ends[0].items():
        np.testing.assert_array_equal(value, ends[1][name])
    kernel = next(value for name, value in ends[0].items() if name.endswith("body/kernel"))
    assert np.count_nonzero(kernel == 0) == kernel.size // 2
    ranges = [value for value in ends[0].values() if value.ndim == 2 and value.shape[1] == 2]
    assert ranges
    assert all((rows[:, 0] < rows[:, 1]).all() for rows in ranges)  # unseen ones are the wrong way


def test_refuses_a_model_of_another_strategy():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"MultiWorkerMirroredStrategy. Received: one of"):
        tfc.train_across_workers(model)
