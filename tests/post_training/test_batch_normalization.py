import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from tfcompress.keras_graph.selection import walk_layers
from tfcompress.post_training.batch_normalization import fold_batch_normalization


def kinds(model):
    return {path: type(layer).__name__ for path, layer in walk_layers(model)}


def assert_equal_outputs(one, other, x):
    wanted = one.predict(x, verbose=0)
    np.testing.assert_allclose(other.predict(x, verbose=0), wanted, rtol=1e-4, atol=1e-5)


def test_every_normalization_of_a_chain_is_folded(mobile_net, images):
    model = mobile_net()
    before = [weights.copy() for weights in model.get_weights()]
    folded = fold_batch_normalization(model)
    assert "BatchNormalization" not in kinds(folded).values()
    assert list(kinds(folded)) == list(kinds(model))
    assert folded.get_layer("depthwise_0").use_bias
    assert_equal_outputs(model, folded, images)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nested_and_sequential_models(shaken, images, tmp_path):
    block = keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            kl.Conv2D(6, 3, use_bias=False, name="conv"),
            kl.BatchNormalization(scale=False, name="norm"),
            kl.ReLU(name="relu"),
        ],
        name="block",
    )
    model = keras.Sequential(
        [
            keras.Input((10, 10, 3)),
            kl.Conv2D(4, 3, name="stem"),
            kl.BatchNormalization(center=False, name="stem_norm"),
            block,
            kl.Flatten(),
            kl.Dense(3, use_bias=False, name="head"),
            kl.BatchNormalization(name="head_norm"),
        ]
    )
    for layer in model._flatten_layers():
        if isinstance(layer, kl.BatchNormalization):
            layer.moving_mean.assign(np.linspace(-1, 1, layer.moving_mean.shape[0]))
            layer.moving_variance.assign(np.linspace(0.5, 2, layer.moving_mean.shape[0]))
    folded = fold_batch_normalization(model)
    assert isinstance(folded, keras.Sequential)
    assert kinds(folded)["block/norm"] == kinds(folded)["head_norm"] == "Identity"
    assert_equal_outputs(model, folded, images)
    folded.save(tmp_path / "folded.keras")
    assert_equal_outputs(folded, keras.models.load_model(tmp_path / "folded.keras"), images)


def test_what_cannot_be_folded_stays(images):
    inputs = keras.Input((10, 10, 3))
    first = kl.BatchNormalization(name="of_the_input")(inputs)
    activated = kl.Conv2D(4, 3, activation="relu", name="activated")(first)
    x = kl.BatchNormalization(name="after_activation")(activated)
    split = kl.Conv2D(4, 1, name="split")(x)
    x = kl.Add()([kl.BatchNormalization(name="of_a_branch")(split), split])
    shared = kl.Conv2D(4, 1, name="shared")
    norms = [kl.BatchNormalization(name=f"of_call_{i}") for i in range(2)]
    x = kl.Add()([norms[0](shared(x)), norms[1](shared(activated))])
    model = keras.Model(inputs, kl.GlobalAveragePooling2D()(x))
    folded = fold_batch_normalization(model)
    assert kinds(folded) == kinds(model)
    assert_equal_outputs(model, folded, images)


def test_a_normalization_of_another_axis_stays(images):
    model = keras.Sequential(
        [keras.Input((10, 10, 3)), kl.Conv2D(8, 3, name="conv"), kl.BatchNormalization(axis=1)]
    )
    assert kinds(fold_batch_normalization(model)) == kinds(model)


def test_a_subclassed_model_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match=r"subclassed model.*Functional model"):
        fold_batch_normalization(Own())


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
    monkeypatch.setattr("tfcompress.post_training.representative_data._MAX_BATCH", 7)
    monkeypatch.setattr("tfcompress.post_training.representative_data._MIN_BATCH", 1)
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
