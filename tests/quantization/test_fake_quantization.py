import numpy as np
import pytest
import tensorflow as tf

from tfcompress.quantization.fake_quantization import (
    fake_quantize_activations,
    fake_quantize_weights,
    moving_range,
    observed_range,
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


@pytest.mark.parametrize(
    ("shape", "output_axes"), [((3, 3, 4, 2), (2, 3)), ((3, 3, 5, 2), (2,)), ((3, 4, 6), (2,))]
)
def test_channels_on_any_axes_equal_the_channels_rounded_alone(shape, output_axes):
    weights = np.random.default_rng(0).normal(size=shape).astype("float32")
    rounded = fake_quantize_weights(tf.constant(weights), output_axes=output_axes).numpy()
    others = tuple(axis for axis in range(len(shape)) if axis not in output_axes)
    scale = np.abs(weights).max(axis=others, keepdims=True) / 127
    np.testing.assert_allclose(rounded, np.round(weights / scale) * scale, atol=1e-6)


def test_zero_channel_stays_zero():
    rounded = fake_quantize_weights(tf.constant([[0.0, 1.0], [0.0, 2.0]]), output_axes=(1,))
    assert rounded.numpy()[:, 0].tolist() == [0.0, 0.0]


def test_zeros_stay_zeros():
    weights = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
    weights[::2] = 0
    assert not fake_quantize_weights(tf.constant(weights), output_axes=(1,)).numpy()[::2].any()


def test_weight_gradient_passes_straight_through():
    weights = tf.Variable([[0.3, -1.0], [0.2, 0.7]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(fake_quantize_weights(weights, bits=4) * [[1.0, 2.0], [3.0, 4.0]])
    assert tape.gradient(loss, weights).numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_activations_by_hand():
    # [-1, 1.55]: one step is 0.01 and zero lies on step 100
    values = tf.constant([-2.0, -0.004, 0.0, 0.006, 1.0, 3.0])
    rounded = fake_quantize_activations(values, tf.constant([-1.0, 1.55])).numpy()
    np.testing.assert_allclose(rounded, [-1.0, 0.0, 0.0, 0.01, 1.0, 1.55], atol=1e-6)


def test_activation_gradient_is_zero_outside_the_range():
    values = tf.Variable([-2.0, 0.5, 3.0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(fake_quantize_activations(values, tf.constant([-1.0, 1.55])))
    assert tape.gradient(loss, values).numpy().tolist() == [0.0, 1.0, 0.0]


def test_half_precision_activations_are_rounded_in_float32():
    values = tf.constant([0.1, 0.2], tf.float16)
    rounded = fake_quantize_activations(values, tf.constant([0.0, 2.55]))
    assert rounded.dtype == tf.float16
    np.testing.assert_allclose(rounded.numpy(), [0.1, 0.2], atol=1e-3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([-2.0, 3.0], [-2.0, 3.0]), ([1.0, 3.0], [0.0, 3.0]), ([-2.0, -1.0], [-2.0, 0.0])],
)
def test_observed_range_holds_zero(values, expected):
    assert observed_range(tf.constant(values)).numpy().tolist() == expected


def test_moving_range_starts_from_the_first_batch():
    first = moving_range(tf.constant([0.0, 0.0]), tf.constant([-1.0, 2.0]), 0.75)
    assert first.numpy().tolist() == [-1.0, 2.0]
    second = moving_range(first, tf.constant([-3.0, 4.0]), 0.75)
    assert second.numpy().tolist() == [-1.5, 2.5]
