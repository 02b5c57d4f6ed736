import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc


@pytest.fixture
def model(shaken):
    return shaken(
        keras.Sequential(
            [
                keras.Input((10, 10, 3)),
                kl.Conv2D(4, 3, name="conv"),
                kl.BatchNormalization(name="first"),
                kl.ReLU(),
                kl.Conv2D(5, 3, name="other"),
                kl.BatchNormalization(name="second"),
                kl.GlobalAveragePooling2D(),
            ]
        )
    )


def test_statistics_are_those_of_the_data(model, images):
    before = model.get_layer("first").moving_mean.numpy()
    found = tfc.reestimate_batch_normalization(model, images)
    made = keras.ops.convert_to_numpy(found.get_layer("conv")(images))
    norm = found.get_layer("first")
    np.testing.assert_allclose(norm.moving_mean, made.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, made.var((0, 1, 2)), rtol=1e-4)
    behind = found.get_layer("first")(made)
    deeper = keras.ops.convert_to_numpy(found.get_layer("other")(keras.ops.relu(behind)))
    second = found.get_layer("second")
    np.testing.assert_allclose(second.moving_mean, deeper.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(second.moving_variance, deeper.var((0, 1, 2)), rtol=1e-3)
    np.testing.assert_array_equal(model.get_layer("first").moving_mean, before)


def test_batches_add_up(model, images, monkeypatch):
    monkeypatch.setattr("tfcompress.post_training.sample_data._LARGEST", 7)
    monkeypatch.setattr("tfcompress.post_training.sample_data._SMALLEST", 1)
    found = tfc.reestimate_batch_normalization(model, images)
    made = keras.ops.convert_to_numpy(found.get_layer("conv")(images))
    np.testing.assert_allclose(
        found.get_layer("first").moving_variance, made.var((0, 1, 2)), rtol=1e-4
    )


def test_removed_channels_lose_less_with_new_statistics(model, images):
    wide = keras.models.clone_model(model)
    wide.set_weights(tfc.reestimate_batch_normalization(model, images).get_weights())
    wide.get_layer("conv").kernel.assign(wide.get_layer("conv").kernel * 0.3)  # as pruning shrinks
    wanted = model_output = tfc.reestimate_batch_normalization(model, images).predict(images)
    repaired = tfc.reestimate_batch_normalization(wide, images)
    lost = np.abs(wide.predict(images, verbose=0) - wanted).mean()
    assert np.abs(repaired.predict(images, verbose=0) - model_output).mean() < 0.05 * lost


def test_a_model_without_normalization_is_refused(images):
    plain = keras.Sequential([keras.Input((10, 10, 3)), kl.Conv2D(2, 3)], name="plain")
    with pytest.raises(ValueError, match="'plain' has no BatchNormalization"):
        tfc.reestimate_batch_normalization(plain, images)
