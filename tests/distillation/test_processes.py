"""What needs a process of its own."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent


@pytest.mark.process
def test_two_replicas_train_as_one():
    output = subprocess.run(
        [sys.executable, HERE / "two_replicas.py"], check=True, capture_output=True, text=True
    ).stdout
    results = json.loads(output.splitlines()[-1])
    assert results["replicas"] == 2
    one, two = results["one"], results["two"]
    assert one["history"].keys() == two["history"].keys()
    for name, values in one["history"].items():
        assert two["history"][name] == pytest.approx(values, rel=1e-4), name
    for alone, mirrored in zip(one["weights"], two["weights"], strict=True):
        np.testing.assert_allclose(alone, mirrored, rtol=1e-3, atol=1e-5)
