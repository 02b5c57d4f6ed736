"""The target is hit to the last weight, over a grid of settings."""

import json
import os
import subprocess
import sys

import pruning_grid
import pytest


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_grid(steps_per_execution, jit_compile):
    fits, misses = pruning_grid.run(None, steps_per_execution, jit_compile)
    assert (fits, misses) == (24, [])


@pytest.mark.process
def test_grid_on_two_logical_devices():
    # Logical devices must be set up before TensorFlow starts.
    result = subprocess.run(
        [sys.executable, pruning_grid.__file__],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert json.loads(result.stdout) == {"replicas": 2, "fits": 24, "misses": []}
