import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

import tfcompress as tfc
from keras_callbacks import MagnitudePruning, NetworkSlimming, ProximalL1, RigL
from tfcompress.keras_graph import acceleration, fused_normalization

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(1.0, 2.0, (16, 6, 6, 3)).astype("float32")
Y = GENERATOR.integers(0, 3, 16)
STEPS = 20


def small_net(dtype="float32", **settings):
    """Return a net with normalization of images, of sequences and of rows; pointwise, too."""
    image = keras.Input((6, 6, 3))
    x = kl.Conv2D(4, 3, use_bias=False, dtype=dtype)(image)
    x = kl.ReLU(dtype=dtype)(kl.BatchNormalization(dtype=dtype, **settings)(x))
    x = kl.Conv2D(4, 1, dtype=dtype)(x)
    x = kl.BatchNormalization(dtype=dtype, **settings)(kl.Reshape((16, 4), dtype=dtype)(x))
    x = kl.Dense(8, dtype=dtype)(kl.GlobalAveragePooling1D(dtype=dtype)(x))
    x = kl.BatchNormalization(dtype=dtype, **settings)(x)
    return keras.Model(image, kl.Dense(3, dtype="float32")(x))


def losses_of(model, callbacks=(), steps=STEPS, **compile_settings):
    """Train on one batch, again and again; return the losses."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss, **{"jit_compile": False} | compile_settings)
    data = tf.data.Dataset.from_tensors((X, Y)).repeat(steps)
    history = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: model.reset_metrics(),
        on_train_batch_end=lambda batch, logs: history.append(logs["loss"]),
    )
    model.fit(data, callbacks=[*callbacks, record], verbose=0)
    return history


def accelerated(model):
    return tfc.accelerate(model), ()


def pruned(model):
    schedule = tfc.PolynomialDecay(0.0, 0.5, 0, STEPS, frequency=5)
    return model, [MagnitudePruning(schedule)]


def driven_to_zero(model):
    return model, [ProximalL1(tfc.PolynomialDecay(0.0, 0.5, 0, STEPS, frequency=5))]


def sparse_from_the_start(model):
    return model, [RigL(0.5, frequency=5)]


def slimmed(model):
    return model, [NetworkSlimming(1e-3)]


def clustered(model):
    return tfc.cluster_weights(model, 8), ()


def softly_clustered(model):
    return tfc.cluster_weights(model, 8, method=tfc.DifferentiableKMeans()), ()


def gated(model):
    return tfc.gated(model, 0.5), ()


def distilled(model):
    return tfc.Distiller(model, keras.models.clone_model(model)), ()


TECHNIQUES = (
    accelerated,
    pruned,
    driven_to_zero,
    sparse_from_the_start,
    slimmed,
    clustered,
    softly_clustered,
    gated,
    distilled,
)


@pytest.fixture
def fused_layers(monkeypatch):
    """Collect each layer that has computed with the fused kernel, by its name."""
    names = set()
    normalize = fused_normalization.normalize_by_batch

    def noted(layer, *args):
        names.add(layer.name)
        return normalize(layer, *args)

    monkeypatch.setattr(fused_normalization, "normalize_by_batch", noted)
    return names


def trained(technique, make=small_net, **compile_settings):
    """Return the losses of a training with a technique, and the model's weights after it."""
    keras.utils.set_random_seed(1)
    inner = make()
    model, callbacks = technique(inner)
    return losses_of(model, callbacks, **compile_settings), inner.get_weights()


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_every_technique_trains_with_keras_losses(technique, fused_layers, monkeypatch):
    losses, weights = trained(technique)
    assert len(fused_layers) == 3
    for form in ("fused_training", "fused_inference"):
        monkeypatch.setattr(fused_normalization, form, lambda layer, call: call)
    monkeypatch.setattr(acceleration, "is_pointwise", lambda layer: False)
    expected, expected_weights = trained(technique)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for value, expected_value in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(value, expected_value, rtol=1e-3, atol=1e-5)


def plain(model):
    return model, ()


@pytest.mark.parametrize(
    "settings",
    [
        {"scale": False},
        {"center": False},
        {"epsilon": 1e-7, "momentum": 0.5},
        {"dtype": "mixed_bfloat16"},
        {"dtype": "mixed_float16"},
    ],
    ids=str,
)
def test_settings_of_the_layer_count(settings, fused_layers):
    # Half precision rounds outputs to 11 or 8 bits, so single steps are compared.
    half = "dtype" in settings
    results = []
    for technique in (accelerated, plain):
        keras.utils.set_random_seed(1)
        model, _ = technique(small_net(**settings))
        results.append((losses_of(model, steps=1 if half else STEPS), model))
    (losses, model), (expected, reference) = results
    assert len(fused_layers) == 3
    np.testing.assert_allclose(losses, expected, rtol=2e-3 if half else 1e-5)
    first, expected_first = (m.layers[2] for m in (model, reference))
    for name in ("moving_mean", "moving_variance"):
        value, expected_value = (getattr(one, name).numpy() for one in (first, expected_first))
        np.testing.assert_allclose(value, expected_value, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 4), (1, 1, 1, 4), (2, 4), (8, 3, 3, 4)], ids=str)
@pytest.mark.parametrize("momentum", [0.0, 0.5, 1.0])
def test_statistics_move_as_those_of_keras(shape, momentum):
    x = np.random.default_rng(0).normal(2.0, 3.0, shape).astype("float32")
    found = []
    for run in (normalized_by_kernel, lambda layer, x: layer(x, training=True)):
        layer = kl.BatchNormalization(momentum=momentum)
        layer.build(shape)
        layer.set_weights(np.random.default_rng(1).uniform(0.5, 1.5, (4, 4)))
        found.append([run(layer, tf.constant(x)).numpy(), *layer.get_weights()])
    for value, expected in zip(*found, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


def normalized_by_kernel(layer, x):
    gamma_and_beta = fused_normalization.scale_and_shift(layer)
    return fused_normalization.normalize_by_batch(layer, x, *gamma_and_beta)


@pytest.mark.parametrize("settings", [{"run_eagerly": True}, {"steps_per_execution": 4}], ids=str)
def test_however_steps_are_run(settings, fused_layers):
    losses, weights = trained(accelerated, **settings)
    assert len(fused_layers) == 3
    expected, expected_weights = trained(plain, **settings)
    np.testing.assert_allclose(losses[-1], expected[-1], rtol=1e-5)
    np.testing.assert_allclose(weights[2], expected_weights[2], rtol=1e-3, atol=1e-5)


def test_replicas(two_replicas, fused_layers):
    def distributed():
        with two_replicas.scope():
            return small_net()

    losses, weights = trained(accelerated, distributed)
    assert len(fused_layers) == 3
    expected, expected_weights = trained(plain, distributed)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for value, expected_value in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(value, expected_value, rtol=1e-3, atol=1e-5)


class OwnNormalization(kl.BatchNormalization):
    """A normalization of the user's own."""


def one_layer(layer, shape=(6, 6, 3)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, kl.Dense(3)(kl.Flatten()(layer(inputs))))


def frozen():
    layer = kl.BatchNormalization()
    layer.trainable = False
    return one_layer(layer)


def masked():
    image = keras.Input((6, 6, 3))
    x = kl.Masking()(kl.Reshape((36, 3))(image))
    x = kl.GlobalAveragePooling1D()(kl.BatchNormalization()(x))
    return keras.Model(image, kl.Dense(3)(x))


UNKNOWN = {
    "another axis": lambda: one_layer(kl.BatchNormalization(axis=1)),
    "double precision": lambda: one_layer(kl.BatchNormalization(dtype="float64")),
    "frozen": frozen,
    "masked": masked,
    "own class": lambda: one_layer(OwnNormalization()),
    "synchronized": lambda: one_layer(kl.BatchNormalization(synchronized=True)),
}


@pytest.mark.parametrize("make", UNKNOWN.values(), ids=UNKNOWN)
def test_what_the_kernel_does_not_know_trains_as_keras_has_it(make, fused_layers):
    losses, weights = trained(accelerated, make)
    expected, expected_weights = trained(plain, make)
    assert not fused_layers
    assert losses == expected
    for value, expected_value in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(value, expected_value)


def linear_operations(layer, shape=(6, 6, 4)):
    """Return the types of the operations that may be a layer's convolution in a training step."""
    model = keras.Sequential([keras.Input(shape), layer])
    model.compile(jit_compile=False)
    with acceleration.accelerated_calls(model):
        images = tf.TensorSpec((None, *shape), layer.compute_dtype)
        graph = tf.function(model).get_concrete_function(images).graph
    return {each.type for each in graph.get_operations()} & {"Conv2D", "MatMul"}


def test_a_pointwise_convolution_is_a_product():
    assert linear_operations(kl.Conv2D(3, 1, activation="elu")) == {"MatMul"}
    assert linear_operations(kl.Conv2D(3, 1, use_bias=False)) == {"MatMul"}


class OwnConvolution(kl.Conv2D):
    """A convolution of the user's own."""


@pytest.mark.parametrize(
    "layer",
    [
        kl.Conv2D(3, 3),
        kl.Conv2D(3, 1, strides=2),
        kl.Conv2D(4, 1, groups=2),
        kl.Conv2D(3, 1, dtype="mixed_float16"),
        kl.Conv2D(3, 1, use_bias=False, activation="elu"),
        OwnConvolution(3, 1),
    ],
)
def test_other_convolutions_stay(layer):
    assert "MatMul" not in linear_operations(layer)  # that of groups is in a graph of its own


def test_images_of_any_size_are_convolved():
    assert linear_operations(kl.Conv2D(3, 1), (None, None, 4)) == {"Conv2D"}


def test_a_layer_inside_another(fused_layers):
    def make():
        return one_layer(kl.TimeDistributed(kl.BatchNormalization()))

    losses, _ = trained(accelerated, make)
    assert len(fused_layers) == 1
    expected, _ = trained(plain, make)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_xla_compiles_what_keras_has():
    model = small_net()
    model.compile("sgd", "mse", jit_compile=True)
    with acceleration.accelerated_calls(model):
        assert_untouched(model)


def assert_untouched(model):
    assert "train_step" not in vars(model)
    assert not any({"call", "convolution_op"} & set(vars(layer)) for layer in model.layers)


def test_nothing_is_left_on_the_model_after_each_step(tmp_path):
    model = small_net()
    config, copies = model.get_config(), []

    def look(batch, logs):
        assert_untouched(model)
        copies.append((copy.deepcopy(model), pickle.loads(pickle.dumps(model))))

    callbacks = [
        *pruned(model)[1],
        keras.callbacks.ModelCheckpoint(tmp_path / "model.keras", save_freq=1),
        keras.callbacks.LambdaCallback(on_train_batch_end=look),
    ]
    losses_of(model, callbacks, steps=2)
    assert_untouched(model)
    assert model.get_config() == config
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for one in (loaded, *copies[-1]):
        np.testing.assert_array_equal(one(X), model(X))


def test_an_interrupted_fit_leaves_nothing():
    model = small_net()

    def interrupt(batch, logs):
        raise KeyboardInterrupt

    stop = keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)
    with pytest.raises(KeyboardInterrupt):
        losses_of(model, [*pruned(model)[1], stop], steps=2)
    assert_untouched(model)


def test_a_compiled_step_is_traced_once(fused_layers):
    model = small_net()
    losses_of(model, steps=1)  # traced as Keras has it
    assert not fused_layers
    model.fit(X, Y, callbacks=pruned(model)[1], verbose=0)
    assert len(fused_layers) == 3
    step = model.train_function
    model.fit(X, Y, callbacks=pruned(model)[1], verbose=0)
    assert model.train_function is step
    model.compile("sgd", "mse")
    assert model.train_function is None


def test_accelerating_twice_is_accelerating_once(fused_layers):
    model = tfc.accelerate(small_net())
    step = model.train_step
    assert tfc.accelerate(model).train_step is step
    losses_of(tfc.cluster_weights(model, 8), steps=1)
    assert len(fused_layers) == 3


def test_a_saved_model_does_not_tell(tmp_path):
    model = small_net()
    config = model.get_config()
    losses_of(tfc.accelerate(model), steps=1)
    assert model.get_config() == config
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_untouched(loaded)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))


def test_only_keras_models():
    with pytest.raises(TypeError, match=r"Keras 3 model\. Received: model='net'"):
        tfc.accelerate("net")
