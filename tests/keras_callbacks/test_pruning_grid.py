"""The target is hit to the last weight, over a grid of settings."""

import pruning_grid
import pytest


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_grid(steps_per_execution, jit_compile):
    fits, misses = pruning_grid.run(None, steps_per_execution, jit_compile)
    assert (fits, misses) == (24, [])


def test_grid_on_two_logical_devices(two_replicas):
    # Keras's own fit, without any callback, fails here with steps_per_execution or jit_compile.
    # To begin an epoch takes longer on two devices than all the steps: one is enough.
    assert pruning_grid.run(two_replicas, epochs=1) == (24, [])
