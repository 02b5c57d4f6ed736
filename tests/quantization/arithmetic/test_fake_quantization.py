import numpy as np
import pytest
import tensorflow as tf

from tfcompress.quantization.arithmetic.fake_quantization import (
    fake_quantize_activations,
    fake_quantize_activations_outside_xla,
    fake_quantize_weights,
    round_to_half,
    rounded_to_range,
)


def test_weights_by_hand():
    # max|w| = 1.27, so that one step of 8 bits is 0.01
    weights = tf.constant([[1.27, -0.014], [0.016, -1.27]])
    rounded = fake_quantize_weights(weights).numpy()
    np.testing.assert_allclose(rounded, [[1.27, -0.01], [0.02, -1.27]], atol=1e-6)


def test_weights_of_four_bits_have_fifteen_levels():
    weights = tf.constant(np.linspace(-0.7, 0.7, 400, dtype="float32"))
    levels = np.unique(np.round(fake_quantize_weights(weights, bits=4).numpy(), 5))
    np.testing.assert_allclose(levels, np.arange(-7, 8) / 10, atol=1e-5)


def test_each_channel_has_its_own_scale():
    weights = tf.constant([[1.27, 0.0127], [-0.5, -0.005]])
    rounded = fake_quantize_weights(weights, output_axes=(1,)).numpy()
    np.testing.assert_allclose(rounded, [[1.27, 0.0127], [-0.5, -0.005]], rtol=1e-5)
    whole = fake_quantize_weights(weights).numpy()
    np.testing.assert_allclose(whole[:, 1], [0.01, -0.0], atol=1e-6)


def test_half_precision_weights_are_those_of_numpy():
    weights = np.random.default_rng(0).normal(size=100).astype("float32")
    rounded = round_to_half(tf.constant(weights)).numpy()
    assert (rounded == weights.astype("float16").astype("float32")).all()
    assert round_to_half(tf.constant([1e6])).numpy() == [65504.0]


def test_halves_pass_gradients_straight_through_in_float32():
    weights = tf.Variable([[0.3, -1.0], [0.2, 0.7]])
    upstream = tf.constant([[1e-9, 2.0], [3.0, 1e9]])  # half precision holds neither end
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(round_to_half(weights) * upstream)
    assert (tape.gradient(loss, weights).numpy() == upstream.numpy()).all()


def test_weights_outside_a_given_limit_are_clipped_and_get_no_gradient():
    weights = tf.Variable([[0.5, 3.0], [-2.0, 1.0]])
    with tf.GradientTape() as tape:
        rounded = fake_quantize_weights(weights, 8, (1,), tf.constant([1.27, 2.54]))
        loss = tf.reduce_sum(rounded)
    np.testing.assert_allclose(rounded, [[0.5, 2.54], [-1.27, 1.0]], atol=1e-6)
    assert tape.gradient(loss, weights).numpy().tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("rectifier", [tf.nn.relu, tf.nn.relu6, tf.identity])
@pytest.mark.parametrize("largest", [3.0, 6.0, 9.0])
def test_the_cheaper_gradient_is_the_same(rectifier, largest):
    x = tf.Variable([-1.0, 0.0, 1e-20, 0.3, 2.9, 4.0, 5.99, 6.01, 7.0, 11.0])
    upstream = tf.range(1.0, 11.0)

    @tf.function
    def run(fake_quantize):
        with tf.GradientTape() as tape:
            y = fake_quantize(rectifier(tf.convert_to_tensor(x)), tf.constant([-0.5, largest]))
        return y, tape.gradient(y, x, upstream)

    for found, expected in zip(
        run(fake_quantize_activations_outside_xla), run(fake_quantize_activations), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("rectifier", [tf.nn.relu, tf.nn.relu6])
@pytest.mark.parametrize("largest", [0.0, 2.7, 5.3, 6.0])
def test_rounding_rectifies(rectifier, largest):
    """The rectifier is left out of the graph, and neither number nor gradient moves."""
    numbers = np.random.default_rng(0).normal(scale=6.0, size=10_000)
    x = tf.Variable([*numbers, -0.0, 0.0, 1e-20, 6.0, largest], dtype="float32")
    value_range = tf.constant([0.0, largest])

    @tf.function
    def run(**how):
        with tf.GradientTape() as tape:
            values = rectifier(tf.convert_to_tensor(x))
            y = fake_quantize_activations_outside_xla(values, value_range, **how)
        return y, tape.gradient(y, x, tf.range(1.0, len(x) + 1.0))

    for found, expected in zip(run(rectifies=True), run(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("shape", "axes"), [((3, 3, 4, 2), (3,)), ((3, 3, 5, 2), (2, 3))])
def test_weights_round_as_tensorflow_rounds_them(shape, axes):
    weights = np.random.default_rng(0).normal(size=shape).astype("float32")
    channels = weights.reshape(-1, int(np.prod([shape[axis] for axis in axes])))
    limit = np.abs(channels).max(axis=0)
    expected = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        channels, -limit, limit, num_bits=8, narrow_range=True
    )
    rounded = fake_quantize_weights(tf.constant(weights), 8, axes)
    np.testing.assert_allclose(rounded, np.reshape(expected, shape), atol=1e-6)


@pytest.mark.parametrize(("bits", "symmetric"), [(8, False), (8, True), (4, False)])
def test_other_backends_round_as_tensorflow_does(bits, symmetric):
    generator = np.random.default_rng(0)
    for _ in range(20):
        ends = generator.normal(size=2).astype("float32") * 3
        ends = (
            (-max(abs(ends)), max(abs(ends))) if symmetric else (min(*ends, 0.0), max(*ends, 0.0))
        )
        values = tf.constant(generator.normal(size=500).astype("float32") * 3)
        rounds = tf.quantization.fake_quant_with_min_max_vars
        with tf.GradientTape() as tape, tf.GradientTape() as other:
            tape.watch(values)
            other.watch(values)
            wanted = rounds(values, *ends, num_bits=bits, narrow_range=symmetric)
            found = rounded_to_range(values, *map(tf.constant, ends), bits, symmetric)
        np.testing.assert_array_equal(found, wanted)
        gradients = other.gradient(found, values), tape.gradient(wanted, values)
        np.testing.assert_array_equal(*gradients)
