"""What random models found, each in the smallest model that shows it."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from keras import ops

import tfcompress as tfc
from exporters.converting import convert_model
from exporters.running.runtime import load
from tfcompress.quantization import quantization_aware_model
from tfcompress.quantization.deployed_graph import lower
from tfcompress.tflite.model import float_operations
from tfcompress.tflite.numerics import sqnr

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(16, 4)).astype("float32")


def of_file(content, x):
    """Return the first output of a file in memory."""
    with load(content) as loaded:
        return loaded.predict(x)[0]


def patches_of_two(x):
    """Make an operation whose name is not the first of its kind."""
    ops.image.extract_patches(x, 2)
    return ops.image.extract_patches(x, 2)


def both_softmaxes(x):
    """Make a layer and an operation that Keras names alike."""
    return ops.softmax(kl.Softmax()(x), axis=1)


@pytest.mark.parametrize("function", [patches_of_two, both_softmaxes])
def test_a_loaded_model_finds_its_bare_operations_again(function, tmp_path):
    inputs = keras.Input((4, 4, 1))
    x = RANDOM.normal(size=(8, 4, 4, 1)).astype("float32")
    inner = keras.Input((4, 4, 1))
    within = keras.Model(inner, function(inner))
    quantized = tfc.quantize_aware(keras.Model(inputs, within(inputs))).calibrate(x)
    quantized.save(tmp_path / "aware.keras")
    loaded = keras.models.load_model(tmp_path / "aware.keras")
    assert quantized.deployed.exact
    assert loaded.deployed.exact
    np.testing.assert_array_equal(quantized(x), loaded(x))


def test_a_loaded_model_rounds_where_it_did_of_tensors_that_are_alike(tmp_path):
    inputs = keras.Input((4,))
    constant = ops.relu(kl.Dense(4)(inputs)) * 0.0 + 1.0
    model = keras.Model(inputs, kl.LayerNormalization()(constant))
    quantized = tfc.quantize_aware(model).calibrate(ROWS)
    quantized.save(tmp_path / "aware.keras")
    loaded = keras.models.load_model(tmp_path / "aware.keras")
    assert set(quantized.placement.learned) >= {*loaded.deployed.graph.points.values()}
    np.testing.assert_array_equal(quantized(ROWS), loaded(ROWS))


def test_a_loaded_model_is_looked_at_with_its_weights(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((4,)), kl.Dense(4), kl.Dense(2)])
    model.layers[0].bias.assign([0.1, -0.2, 0.3, 0.4])
    quantized = tfc.quantize_aware(model).calibrate(ROWS)
    biases = []

    def noting(model, *arguments):
        biases.append(model.layers[0].bias.numpy())
        return lower(model, *arguments)

    monkeypatch.setattr(quantization_aware_model, "lower", noting)
    quantized.save(tmp_path / "aware.keras")
    loaded = keras.models.load_model(tmp_path / "aware.keras")
    assert not biases
    np.testing.assert_array_equal(quantized(ROWS), loaded(ROWS))
    np.testing.assert_array_equal(biases, [np.float32([0.1, -0.2, 0.3, 0.4])])


def test_a_simulation_sees_tensors_inside_layers():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, kl.LayerNormalization()(kl.Dense(4)(inputs)))
    quantized = tfc.quantize_aware(model).calibrate(ROWS)
    np.testing.assert_allclose(quantized.simulated(ROWS), quantized(ROWS), atol=0.05)


def test_what_a_model_computes_several_times_is_folded_into_the_kernel_before():
    inputs = keras.Input((4,))
    h = kl.Dense(4)(inputs)
    model = keras.Model(inputs, h * 1e-3 - ops.mean(h * 1e-3, -1, keepdims=True))
    quantized = tfc.quantize_aware(model).calibrate(ROWS)
    found = of_file(convert_model(quantized).flatbuffer, ROWS)
    np.testing.assert_array_equal(found, quantized(ROWS))
    np.testing.assert_allclose(found, model(ROWS), atol=1e-4)


def test_squared_differences_of_five_axes_are_integer():
    inputs = keras.Input((2, 3, 4, 2))
    x = np.random.default_rng(0).uniform(-2, 2, (8, 2, 3, 4, 2)).astype("float32")
    _, variance = ops.moments(inputs, axes=[1], keepdims=True)
    model = keras.Model(inputs, variance)
    converted = convert_model(model, "int8", representative_data=x)
    assert not float_operations(converted.content)
    np.testing.assert_allclose(of_file(converted.flatbuffer, x), model(x), atol=0.05)


@pytest.mark.parametrize("last", [lambda x: x + 1.0, lambda x: 2.0 * (x * 3.0)])
def test_constants_that_are_joined_in_the_file_follow_the_weights(last):
    inputs = keras.Input((3,), dtype="int32")
    normalization = kl.BatchNormalization(beta_initializer="random_normal")
    model = keras.Model(inputs, last(normalization(kl.Embedding(5, 4)(inputs))))
    x = RANDOM.integers(0, 5, (16, 3)).astype("int32")
    quantized = tfc.quantize_aware(model).calibrate(x)
    found = of_file(convert_model(quantized).flatbuffer, x)
    np.testing.assert_array_equal(found, quantized(x))
    np.testing.assert_allclose(found, model(x), atol=0.02)


class TwiceSorted(kl.Layer):
    """Sorts inside its call, where only its last tensor is handed out."""

    def call(self, x):
        return ops.top_k(ops.top_k(x * 2.0, k=3)[0], k=2)[0]


def test_the_largest_entries_need_no_range_of_their_own():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, TwiceSorted()(inputs))
    quantized = tfc.quantize_aware(model).calibrate(ROWS)
    found = of_file(convert_model(quantized).flatbuffer, ROWS)
    np.testing.assert_array_equal(found, quantized(ROWS))


@pytest.mark.parametrize("last", [lambda x: 1.0 - x, lambda x: ops.log1p(ops.abs(x))])
def test_copies_that_the_file_joins_first_need_no_range_of_their_own(last):
    inputs = keras.Input((4, 3, 1))
    model = keras.Model(inputs, ops.tile(last(kl.LeakyReLU()(inputs)), (1, 1, 1, 2)))
    x = RANDOM.normal(size=(8, 4, 3, 1)).astype("float32")
    quantized = tfc.quantize_aware(model).calibrate(x)
    np.testing.assert_array_equal(of_file(convert_model(quantized).flatbuffer, x), quantized(x))


@pytest.mark.parametrize("number", [0.0, 1.0])
def test_what_is_taken_from_a_number_behind_a_transposition_keeps_its_sign(number):
    inputs = keras.Input((3, 4, 2))
    x = RANDOM.normal(size=(8, 3, 4, 2)).astype("float32")
    turned = ops.transpose(ops.minimum(inputs, 1.0), (0, 2, 3, 1))
    model = keras.Model(inputs, kl.MaxPooling2D(1)(number - turned))
    found = of_file(convert_model(model, "float32").flatbuffer, x)
    np.testing.assert_allclose(found, model(x), atol=1e-5)


@pytest.mark.parametrize("layer", [kl.BatchNormalization, kl.LayerNormalization])
@pytest.mark.parametrize("axis", [-1, 1])
def test_a_shift_and_a_mean_that_the_file_joins_follow_the_weights(layer, axis):
    inputs = keras.Input((3, 4))
    x = layer(axis=axis, beta_initializer="random_normal")(inputs)
    model = keras.Model(inputs, kl.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[0.5] * 4)(x))
    check_against_file(model, RANDOM.normal(size=(16, 3, 4)).astype("float32"))


def test_what_is_added_behind_a_kernel_is_a_bias_of_one_axis():
    inputs = keras.Input((3, 4))
    number = np.float32([[[0.1, 0.2, 0.3, 0.4]]])
    model = keras.Model(inputs, kl.Dense(4, bias_initializer="random_normal")(inputs) + number)
    graph = check_against_file(model, RANDOM.normal(size=(16, 3, 4)).astype("float32"))
    assert [each.name for each in graph.operations] == ["FULLY_CONNECTED"]
    assert graph.tensors[graph.operations[0].inputs[2]].shape == (4,)


def test_a_bias_that_is_a_factor_too_keeps_its_axes_there():
    inputs = keras.Input((3, 4))
    number = np.float32([[[0.1, 0.2, 0.3, 0.4]]])
    outputs = [kl.Dense(4, use_bias=False)(inputs) + number, inputs * number]
    x = RANDOM.normal(size=(2, 3, 4)).astype("float32")
    model = keras.Model(inputs, outputs)
    with load(convert_model(model, "float32").flatbuffer) as loaded:
        for found, expected in zip(loaded.predict(x), model(x), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_sizes_that_keras_does_not_know_are_those_of_the_file():
    inputs = keras.Input((3, 4))
    model = keras.Model(inputs, kl.EinsumDense("abc,bd->adc", (5, None))(inputs))
    assert model.output_shape == (None, 5, None)
    check_against_file(model, RANDOM.normal(size=(16, 3, 4)).astype("float32"))


class Repeated(kl.Layer):
    """Vectors that are learned, once for each example, as the queries of a detector."""

    def build(self, shape):
        self.vectors = self.add_weight(shape=(1, 2, 4), initializer="random_normal")

    def call(self, x):
        return ops.repeat(self.vectors, ops.shape(x)[0], axis=0)


def of_themselves(queries, x):
    """Let queries attend to each other before the input attends to them."""
    return kl.MultiHeadAttention(2, 2)(x, kl.MultiHeadAttention(2, 2)(queries, queries))


def beside(queries, x):
    return kl.Concatenate(axis=1)([kl.Dense(4, "relu")(queries), x])


@pytest.mark.parametrize("function", [kl.MultiHeadAttention(2, 2), of_themselves, beside])
def test_what_is_learned_and_repeated_for_each_example_follows_the_weights(function):
    inputs = keras.Input((3, 4))
    model = keras.Model(inputs, function(Repeated()(inputs), inputs))
    check_against_file(model, RANDOM.normal(size=(16, 3, 4)).astype("float32"))


def scaled_back(x):
    """Divide by a root, and multiply by it in the end."""
    root = ops.sqrt(ops.var(x, axis=1, keepdims=True) + 0.1)
    return ops.tanh(x / root) * root


def beside_its_powers(x):
    powers = ops.exp(x)
    return ops.concatenate([powers / ops.sum(powers, -1, keepdims=True), powers / 4.0], -1)


@pytest.mark.parametrize("function", [scaled_back, beside_its_powers])
def test_a_form_knows_what_is_rounded_for_another_reader(function):
    inputs = keras.Input((3, 4))
    x = RANDOM.normal(size=(16, 3, 4)).astype("float32")
    quantized = tfc.quantize_aware(keras.Model(inputs, function(inputs))).calibrate(x)
    found = of_file(convert_model(quantized).flatbuffer, x)
    np.testing.assert_array_equal(found, quantized(x))
    assert sqnr(found, np.asarray(quantized.simulated(x))) > 30


def check_against_file(model, x):
    """Check a model's quantization-aware form against its file, and both against the model."""
    quantized = tfc.quantize_aware(model).calibrate(x)
    found = of_file(convert_model(quantized).flatbuffer, x)
    np.testing.assert_array_equal(found, quantized(x))
    assert sqnr(np.asarray(model(x)), found) > 20
    return quantized.deployed.graph.file


@pytest.mark.parametrize(
    "around",
    [
        lambda product, x: product(kl.RMSNormalization()(x)),
        lambda product, x: product(kl.BatchNormalization()(x)),
        lambda product, x: kl.BatchNormalization()(product(x)),
    ],
    ids=["scaled before", "scaled and shifted before", "behind"],
)
def test_weights_that_are_folded_into_a_matrix_of_the_graph_are_followed(around):
    matrix = ops.convert_to_tensor(RANDOM.normal(size=(4, 6)).astype("float32"))
    inputs = keras.Input((3, 4))
    model = keras.Model(inputs, around(lambda x: ops.matmul(x, matrix), inputs))
    for weight in model.weights:
        weight.assign(RANDOM.uniform(0.5, 1.5, weight.shape))
    x = RANDOM.normal(size=(16, 3, 4)).astype("float32")
    quantized = tfc.quantize_aware(model).calibrate(x)
    for weight in model.weights:
        weight.assign(0.8 * weight)
    found = of_file(convert_model(quantized).flatbuffer, x)
    np.testing.assert_array_equal(found, quantized(x))
    assert sqnr(model(x).numpy(), found) > 20


def test_a_kernel_is_followed_whose_padding_and_scale_before_are_folded():
    inputs = keras.Input((8, 8, 3))
    x = kl.ZeroPadding2D(((0, 1), (0, 1)))(kl.Rescaling(1 / 255)(inputs))
    x = kl.Conv2D(4, 3, strides=2, use_bias=False)(x)
    model = keras.Model(inputs, kl.BatchNormalization()(x))
    images = RANDOM.uniform(0, 255, (16, 8, 8, 3)).astype("float32")
    quantized = tfc.quantize_aware(model)
    model.layers[3].kernel.assign(-3.0 * model.layers[3].kernel)
    quantized.calibrate(images)
    found = of_file(convert_model(quantized).flatbuffer, images)
    assert sqnr(model.predict(images, verbose=0), found) > 30
    np.testing.assert_array_equal(found, quantized.predict(images, verbose=0))


@pytest.mark.parametrize(
    ("layer", "arguments"),
    [(kl.Identity, ()), (kl.Dropout, (0.5,)), (kl.ReLU, ()), (kl.Rescaling, (0.5,))],
)
def test_what_is_taken_from_a_number_behind_a_turned_layer_is_trained(layer, arguments):
    inputs = keras.Input((4, 6))
    x = 1.0 - layer(*arguments)(kl.Permute((2, 1))(kl.Dense(6)(inputs)))
    model = keras.Model(inputs, kl.Dense(2)(x))
    x = RANDOM.normal(size=(16, 4, 6)).astype("float32")
    quantized = tfc.quantize_aware(model)
    quantized.compile("sgd", "mse")
    before = model.layers[1].kernel.numpy()
    quantized.fit(x, np.ones((16, 6, 2)), epochs=2, verbose=0)
    assert np.abs(model.layers[1].kernel.numpy() - before).max() > 1e-3
    found = of_file(convert_model(quantized).flatbuffer, x)
    np.testing.assert_array_equal(found, quantized.predict(x, verbose=0))
    assert sqnr(model.predict(x, verbose=0), found) > 25
