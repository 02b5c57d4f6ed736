import json

import clusters_on_two_devices
import pytest
from interruption import run_script


@pytest.mark.process
def test_two_devices_train_the_clusters_of_one():
    done = run_script(clusters_on_two_devices.__file__)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    for method in ("nearest", "differentiable"):
        assert max(result[method]["values"]) <= 6
        assert result[method]["apart"] < 1e-4, method
