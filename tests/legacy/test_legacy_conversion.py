"""Models of tf_keras, rebuilt for Keras 3: the same outputs, names and weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from small_tf_keras_nets import NETS, inputs_for, photo_net, randomize
from tf_keras import layers as kl

import tfcompress as tfc
from tfcompress.legacy.conversion import unequal_outputs


def assert_equal_outputs(model, rebuilt, inputs, tolerance=1e-5):
    expected = tf.nest.flatten(model.predict(inputs, verbose=0))
    found = keras.tree.flatten(rebuilt.predict(inputs, verbose=0))
    assert len(found) == len(expected)
    for own, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize("build", NETS)
def test_outputs_and_weights_are_equal(build):
    model = randomize(build())
    rebuilt = tfc.from_tf_keras(model)
    assert isinstance(rebuilt, keras.Model)
    assert rebuilt.count_params() == model.count_params()
    assert_equal_outputs(model, rebuilt, inputs_for(model))


@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "ResNet50"])
def test_networks_of_tf_keras_applications(name):
    model = getattr(tf_keras.applications, name)(
        weights=None, input_shape=(32, 32, 3), include_top=False, pooling="avg"
    )
    rebuilt = tfc.from_tf_keras(model)  # compares outputs itself; here on another example
    assert not unequal_outputs(model, rebuilt, 2.0 * inputs_for(model, examples=1))
    assert rebuilt.count_params() == model.count_params()


def test_names_settings_and_structures_are_kept():
    model = photo_net()
    rebuilt = tfc.from_tf_keras(model)
    assert rebuilt.name == "photo_net"
    assert [tensor.name for tensor in rebuilt.inputs] == ["photo"]
    assert set(rebuilt(inputs_for(model))) == {"scores", "corner"}
    conv = rebuilt.get_layer("conv")
    assert conv.kernel_regularizer.l2 == pytest.approx(0.01)
    assert rebuilt.get_layer("head_scores").units == 3  # no "/" in a name of Keras 3
    assert rebuilt.get_layer("norm").epsilon == model.get_layer("norm").epsilon


def test_frozen_layers_stay_frozen():
    model = photo_net()
    model.get_layer("conv").trainable = False
    rebuilt = tfc.from_tf_keras(model)
    assert not rebuilt.get_layer("conv").trainable
    assert len(rebuilt.trainable_variables) == len(model.trainable_variables)


def test_the_model_that_was_given_is_left_alone():
    model = randomize(photo_net())
    before = model.get_weights()
    rebuilt = tfc.from_tf_keras(model)
    rebuilt.set_weights([weight + 1.0 for weight in rebuilt.get_weights()])
    for own, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(own, theirs)


def test_a_rebuilt_model_is_saved_loaded_and_trained(tmp_path):
    rebuilt = tfc.from_tf_keras(photo_net())
    rebuilt.save(tmp_path / "rebuilt.keras")
    loaded = keras.saving.load_model(tmp_path / "rebuilt.keras")
    x = np.ones((4, 8, 8, 3), "float32")
    expected = rebuilt(x)
    np.testing.assert_allclose(loaded(x)["scores"], expected["scores"], rtol=1e-6)
    loaded.compile("adam", "mse")
    targets = {name: np.zeros(value.shape) for name, value in expected.items()}
    losses = loaded.fit(x, targets, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_layers_that_share_weights_have_one_twin():
    layer, inputs = kl.Dense(4), kl.Input((4,))
    rebuilt = tfc.from_tf_keras(tf_keras.Model(inputs, layer(layer(inputs))))
    assert len(rebuilt.weights) == 2


class Doubled(kl.Layer):
    def call(self, inputs):
        return 2.0 * inputs


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (
            lambda: kl.ThresholdedReLU(name="odd"),
            r"'odd' has no equivalent.*ThresholdedReLU",
        ),
        (lambda: kl.LSTM(3, time_major=True, name="odd"), r"'odd'.*no setting time_major=True"),
        (lambda: Doubled(name="odd"), r"'odd'.*its class, Doubled, is not part of tf_keras"),
        (lambda: tf.math.erf, r"'tf.math.erf'.*no operation for tf.math.erf"),
    ],
)
def test_a_layer_without_an_equivalent_is_named(make, complaint):
    inputs = kl.Input((4, 3), batch_size=4)
    model = tf_keras.Model(inputs, make()(inputs))
    with pytest.raises(tfc.NoEquivalentError, match=complaint):
        tfc.from_tf_keras(model)


def test_functions_called_by_keyword():
    inputs = kl.Input((4, 3))
    x = tf.reshape(tensor=tf.cast(inputs, dtype=tf.float32), shape=(-1, 12))
    x = tf.matmul(tf.expand_dims(x, axis=1), tf.expand_dims(x, axis=1), transpose_b=True)
    x = tf.clip_by_value(tf.squeeze(x, axis=[1]), 0.5, clip_value_max=9.0)
    x = tf.concat([x, tf.reduce_mean(inputs, axis=[1, 2], keepdims=False)[:, None]], axis=-1)
    model = tf_keras.Model(inputs, tf.nn.softmax(tf.nn.leaky_relu(1.0 - x, alpha=0.1), axis=-1))
    assert_equal_outputs(model, tfc.from_tf_keras(model), inputs_for(model))


def test_a_layer_inside_a_nested_model_is_named_with_its_path():
    nested = tf_keras.Sequential([kl.InputLayer((4,)), Doubled(name="odd")], name="inner")
    model = tf_keras.Sequential([kl.InputLayer((4,)), nested])
    with pytest.raises(tfc.NoEquivalentError, match="'inner/odd'"):
        tfc.from_tf_keras(model)


class Subclassed(tf_keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = kl.Dense(2)

    def call(self, inputs):
        return self.dense(inputs)


def test_models_that_cannot_be_converted_are_refused():
    model = Subclassed()
    model(np.zeros((1, 4), "float32"))
    with pytest.raises(ValueError, match=r"subclassed.*tf_keras.Model.inputs, model"):
        tfc.from_tf_keras(model)
    with pytest.raises(ValueError, match="not built"):
        tfc.from_tf_keras(tf_keras.Sequential([kl.Dense(2)]))
    with pytest.raises(TypeError, match=r"takes a model of tf_keras. Received"):
        tfc.from_tf_keras(keras.Sequential([keras.Input((2,))]))


def test_unequal_outputs_are_seen():
    model = photo_net()
    rebuilt = tfc.from_tf_keras(model)
    scores = rebuilt.get_layer("head_scores")
    scores.bias.assign(scores.bias + 0.1)
    assert "output 1 differs by up to 0.1; the" in unequal_outputs(model, rebuilt)
