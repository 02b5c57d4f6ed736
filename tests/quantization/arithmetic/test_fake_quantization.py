import numpy as np
import tensorflow as tf

from tfcompress.quantization.arithmetic.fake_quantization import (
    fake_quantize_weights,
    round_to_half,
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
