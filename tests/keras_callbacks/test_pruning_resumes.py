"""A training that was interrupted ends as one that was not."""

import signal

import keras
import numpy as np
import pruning_killed as training
import pytest
from interruption import Interrupted, KillAt, assert_same, interrupt
from started_script import run_script

from keras_callbacks import MagnitudePruning
from tfcompress.pruning import PolynomialDecay


@pytest.fixture(scope="module")
def uninterrupted():
    model = training.make_model()
    training.train(model, *training.pruning(), epochs=training.EPOCHS)
    zeros = [int(np.count_nonzero(layer.kernel.numpy() == 0)) for layer in model.layers]
    assert zeros == [77, 96, 48]  # 0.8 of 96, of 120 and of 60
    return model.get_weights()


@pytest.mark.process
def test_killed_and_resumed(tmp_path, uninterrupted):
    def run(*arguments):
        return run_script(training.__file__, tmp_path, *arguments)

    killed = run("15")  # in the third epoch
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert (tmp_path / "backup" / "latest.weights.h5").exists()
    assert not (tmp_path / "weights.npz").exists()
    resumed = run()
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    with np.load(tmp_path / "weights.npz") as weights:
        assert_same([weights[name] for name in weights.files], uninterrupted)


@pytest.mark.parametrize("backup_first", [True, False])
def test_order_of_backup_and_pruning_does_not_matter(tmp_path, uninterrupted, backup_first):
    def callbacks():
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        pruning = training.pruning()
        return [backup, *pruning] if backup_first else [*pruning, backup]

    model = training.make_model()
    with pytest.raises(Interrupted):
        training.train(model, *callbacks(), KillAt(14, interrupt), epochs=training.EPOCHS)
    model = training.make_model()
    training.train(model, *callbacks(), epochs=training.EPOCHS)
    assert_same(model.get_weights(), uninterrupted)


def test_resumes_in_the_same_process_after_an_interruption(tmp_path, uninterrupted):
    model = training.make_model()
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(Interrupted):
        training.train(
            model,
            backup,
            *training.pruning(),
            KillAt(14, interrupt),
            epochs=training.EPOCHS,
        )
    training.train(model, backup, *training.pruning(), epochs=training.EPOCHS)
    assert_same(model.get_weights(), uninterrupted)


def test_resumes_pruning_that_began_after_dense_training(tmp_path):
    def run(*extra):
        model = training.make_model()
        training.train(model, epochs=2)  # the optimizer counts 12 steps before pruning begins
        pruning = MagnitudePruning(PolynomialDecay(0.0, 0.8, 3, frequency=5), layers="by_m")
        training.train(model, *extra, pruning, epochs=training.EPOCHS)
        return model.get_weights()

    expected = run()
    with pytest.raises(Interrupted):
        run(keras.callbacks.BackupAndRestore(tmp_path), KillAt(12 + 15, interrupt))
    resumed = run(keras.callbacks.BackupAndRestore(tmp_path))
    assert_same(resumed, expected)


@pytest.mark.parametrize("end_step", [-1, 24, 20])
def test_goes_on_from_a_keras_file(tmp_path, end_step):
    def pruning():
        schedule = PolynomialDecay(0.1, 0.8, 2, end_step, frequency=5)
        return MagnitudePruning(schedule, layers="by_magnitude|by_taylor")

    model = training.make_model()
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "at_{epoch}.keras")
    training.train(model, checkpoint, pruning(), epochs=training.EPOCHS)
    resumed = keras.saving.load_model(tmp_path / "at_2.keras")
    training.train(resumed, pruning(), initial_epoch=2, epochs=training.EPOCHS)
    assert_same(resumed.get_weights(), model.get_weights())


def test_a_keras_file_in_mid_schedule_does_not_become_dense(tmp_path):
    model = training.make_model()
    schedule = PolynomialDecay(0.0, 0.8, 0, 24, frequency=6)
    with pytest.warns(UserWarning, match="ends at step 24"):
        training.train(model, MagnitudePruning(schedule, layers="by_magnitude"), epochs=2)
    model.save(tmp_path / "model.keras")
    resumed = keras.saving.load_model(tmp_path / "model.keras")
    training.train(resumed, MagnitudePruning(schedule, layers="by_magnitude"), epochs=2)
    kernels = [m.get_layer("by_magnitude").kernel.numpy() for m in (model, resumed)]
    assert [np.count_nonzero(kernel == 0) for kernel in kernels] == [67, 77]  # 0.7 and 0.8 of 96
    assert (kernels[1][kernels[0] == 0] == 0).all()


def test_refuses_a_backup_of_other_kernels(tmp_path):
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    schedule = PolynomialDecay(0.0, 0.8, 0, 24)
    model = training.make_model()
    with pytest.raises(Interrupted):
        training.train(
            model,
            backup,
            MagnitudePruning(schedule, layers="by_taylor"),
            KillAt(14, interrupt),
            epochs=4,
        )
    with pytest.raises(ValueError, match=r"pruned other kernels.*layers='by_magnitude'"):
        training.train(
            training.make_model(),
            backup,
            MagnitudePruning(schedule, layers="by_magnitude"),
            epochs=4,
        )
