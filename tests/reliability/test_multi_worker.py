"""Two worker processes on one machine train as one, with Keras's own `fit`."""

import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from worker_plans import end_of, planned, run_plan

import tfcompress as tfc

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "multi_worker.py"


@pytest.mark.pages
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


@pytest.mark.process
def test_a_worker_that_is_killed_and_starts_again(tmp_path):
    """Both start again, and end as if nothing had happened."""
    names = ("whole", "broken", "clusters", "quantization")
    whole, broken, clusters, quantization = (tmp_path / name for name in names)
    plan = [
        planned("pruning", whole),
        planned("pruning", broken, kill_at=15),
        planned("pruning", broken),
        planned("clustering", clusters),
        planned("distillation", tmp_path / "distillation"),
        planned("quantization", quantization),
    ]
    codes = run_plan(plan, tmp_path)
    assert codes.pop(1)[1] == -signal.SIGKILL
    assert codes == [(0, 0)] * 5
    for training in plan:
        ends = [end_of(training["folder"], index) for index in range(2)]
        for first, second in zip(*(end[1:] for end in ends), strict=True):
            np.testing.assert_array_equal(first, second)
    for expected, found in zip(end_of(whole), end_of(broken), strict=True):
        np.testing.assert_array_equal(found, expected)
    kernels = [state for state in end_of(clusters)[1:] if state.shape in ((8, 12), (12, 6))]
    assert len(np.unique(kernels[0])) <= 6
    ranges = [state for state in end_of(quantization)[1:] if state.shape[1:] == (2,)]
    assert ranges
    assert all((rows[:, 0] < rows[:, 1]).all() for rows in ranges)  # unseen ones are the wrong way
    assert not list(broken.glob("backup/*"))


def test_refuses_a_model_of_another_strategy():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"MultiWorkerMirroredStrategy. Received: one of"):
        tfc.train_across_workers(model)
