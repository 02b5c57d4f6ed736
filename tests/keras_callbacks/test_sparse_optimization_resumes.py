"""Sparse optimization that was interrupted ends as if it had not been."""

import keras
import numpy as np
import pruning_killed as training
import pytest
from interruption import Interrupted, KillAt, assert_same, interrupt

from keras_callbacks import IterativeHardThresholding, ProximalL1, SparsityRegularization
from tfcompress.pruning import PolynomialDecay


@pytest.mark.parametrize(
    "make",
    [IterativeHardThresholding, ProximalL1, SparsityRegularization],
    ids=lambda c: c.__name__,
)
@pytest.mark.parametrize("stop_at", [8, 15, 22])
def test_resumed_training_ends_alike(make, stop_at, tmp_path):
    def run(*extra):
        model = training.make_model()
        schedule = PolynomialDecay(0.0, 0.8, 2, 20, frequency=3)
        training.train(model, make(schedule, layers="by_magnitude"), *extra, epochs=training.EPOCHS)
        return model

    expected = run()
    assert np.count_nonzero(expected.get_layer("by_magnitude").kernel.numpy() == 0) == 77
    with pytest.raises(Interrupted):
        run(keras.callbacks.BackupAndRestore(tmp_path), KillAt(stop_at, interrupt))
    resumed = run(keras.callbacks.BackupAndRestore(tmp_path))
    assert_same(resumed.get_weights(), expected.get_weights())
