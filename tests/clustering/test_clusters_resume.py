"""A training with clusters that was interrupted ends as one that was not, bit for bit."""

import signal

import clustering_killed as training
import keras
import numpy as np
import pytest
from interruption import Interrupted, KillAt, assert_same, interrupt
from started_script import run_script

import tfcompress as tfc


@pytest.fixture(scope="module")
def uninterrupted():
    """The weights that each method ends with."""
    methods = ("nearest", "differentiable")
    return {name: training.train(training.make_model(name)).get_weights() for name in methods}


@pytest.mark.process
def test_killed_and_resumed(tmp_path, uninterrupted):
    def run(*arguments):
        return run_script(training.__file__, "nearest", tmp_path, *arguments)

    killed = run("15")  # in the third epoch
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert not (tmp_path / "weights.npz").exists()
    resumed = run()
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    with np.load(tmp_path / "weights.npz") as weights:
        assert_same([weights[name] for name in weights.files], uninterrupted["nearest"])


@pytest.mark.parametrize(
    ("method", "stop_at"), [("nearest", 8), ("nearest", 20), ("differentiable", 15)]
)
def test_resumed_training_ends_alike(method, stop_at, tmp_path, uninterrupted):
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(Interrupted):
        training.train(training.make_model(method), backup, KillAt(stop_at, interrupt))
    resumed = training.train(training.make_model(method), backup)
    assert_same(resumed.get_weights(), uninterrupted[method])


def test_clusters_under_quantization_resume(tmp_path):
    expected = training.train(training.make_model(quantized=True))
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(Interrupted):
        training.train(training.make_model(quantized=True), backup, KillAt(15, interrupt))
    resumed = training.train(training.make_model(quantized=True), backup)
    assert_same(resumed.get_weights(), expected.get_weights())


def test_a_saved_file_brings_the_clusters_of_a_fresh_model(tmp_path):
    """What each weight would be by itself decides when it changes over: it is in the file."""
    model = training.train(training.make_model())
    model.save(tmp_path / "model.keras")
    model.optimizer.learning_rate = 0.02
    loaded = keras.saving.load_model(tmp_path / "model.keras")  # a plain model: no clusters
    assert loaded.get_layer("dense").kernel.constraint is None
    again = tfc.cluster_weights(loaded, 6, granularity=2, mobility=0.7)
    again.load_weights(tmp_path / "model.keras")
    again.optimizer.learning_rate = 0.02
    assert_same(training.train(again).get_weights(), training.train(model).get_weights())


def test_other_clusters_than_saved_ones_are_refused(tmp_path):
    path = tmp_path / "model.weights.h5"
    plain = training.make_model()
    tfc.release_clusters(plain)
    plain.save_weights(path)
    with pytest.raises(ValueError, match=r"'pruned/kernel'.*no clusters"):
        training.make_model().load_weights(path)
    training.make_model().save_weights(path)
    tfc.release_clusters(plain)
    tfc.cluster_weights(plain, 5, granularity=2)
    with pytest.raises(ValueError, match=r"6\)"):
        plain.load_weights(path)
