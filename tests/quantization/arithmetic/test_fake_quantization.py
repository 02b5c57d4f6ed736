import numpy as np
import pytest
import tensorflow as tf

from tfcompress.quantization.arithmetic.fake_quantization import (
    RANGE_OF_ZEROS,
    SMALLEST_RANGE,
    fake_quantize_activations,
    fake_quantize_activations_outside_xla,
    fake_quantize_weights,
    grid_levels,
    round_to_half,
    round_weights_plainly,
    weight_limit,
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


FAKE_QUANTIZE = pytest.mark.parametrize(
    "fake_quantize", [fake_quantize_activations, fake_quantize_activations_outside_xla]
)


@FAKE_QUANTIZE
def test_activations_by_hand(fake_quantize):
    # [-1, 1.55]: one step is 0.01 and zero lies on step 100
    values = tf.constant([-2.0, -0.004, 0.0, 0.006, 1.0, 3.0])
    rounded = fake_quantize(values, tf.constant([-1.0, 1.55])).numpy()
    np.testing.assert_allclose(rounded, [-1.0, 0.0, 0.0, 0.01, 1.0, 1.55], atol=1e-6)


@FAKE_QUANTIZE
def test_activation_gradient_is_zero_outside_the_range(fake_quantize):
    values = tf.Variable([-2.0, 0.5, 3.0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(fake_quantize(values, tf.constant([-1.0, 1.55])))
    assert tape.gradient(loss, values).numpy().tolist() == [0.0, 1.0, 0.0]


def test_half_precision_activations_are_rounded_in_float32():
    values = tf.constant([0.1, 0.2], tf.float16)
    rounded = fake_quantize_activations(values, tf.constant([0.0, 2.55]))
    assert rounded.dtype == tf.float16
    np.testing.assert_allclose(rounded.numpy(), [0.1, 0.2], atol=1e-3)


def test_symmetric_activations_by_hand():
    # the larger end decides: 127 steps of 0.01 on either side
    values = tf.constant([-2.0, -0.504, 0.006, 1.0, 3.0])
    value_range = tf.constant([-0.5, 1.27])
    rounded = fake_quantize_activations(values, value_range, symmetric=True).numpy()
    np.testing.assert_allclose(rounded, [-1.27, -0.5, 0.01, 1.0, 1.27], atol=1e-6)


def test_activations_of_16_bits_by_hand():
    values = tf.constant([0.5 + 0.6e-4, -4.0])
    rounded = fake_quantize_activations(values, tf.constant([-3.2767, 0.0]), 16, symmetric=True)
    np.testing.assert_allclose(rounded, [0.5001, -3.2767], atol=1e-6)


def test_grid_levels_by_hand():
    lowest, highest, step = grid_levels(tf.constant(-1.0), tf.constant(1.55), 8, symmetric=False)
    assert (lowest.numpy(), highest.numpy()) == (-100.0, 155.0)
    assert step.numpy() == pytest.approx(0.01)
    lowest, highest, step = grid_levels(tf.constant(-1.0), tf.constant(1.27), 8, symmetric=True)
    assert (lowest.numpy(), highest.numpy()) == (-127.0, 127.0)
    assert step.numpy() == pytest.approx(0.01)


@pytest.mark.parametrize("symmetric", [False, True])
def test_zeros_alone_have_a_usable_grid(symmetric):
    rounded = fake_quantize_activations(tf.zeros(3), tf.zeros(2), symmetric=symmetric)
    assert rounded.numpy().tolist() == [0.0, 0.0, 0.0]
    step = grid_levels(tf.constant(0.0), tf.constant(0.0), 8, symmetric)[2].numpy()
    assert step >= RANGE_OF_ZEROS / 255
    assert weight_limit(tf.zeros((2, 3)), (1,)).numpy().tolist() == [RANGE_OF_ZEROS] * 3


def test_the_runtime_adds_what_is_almost_zero():
    assert RANGE_OF_ZEROS < 2**19 * SMALLEST_RANGE


@pytest.mark.parametrize(
    ("shape", "output_axes"), [((3, 3, 4, 2), (2, 3)), ((3, 3, 5, 2), (2,)), ((4, 6), None)]
)
@pytest.mark.parametrize("bits", [4, 8])
def test_plain_rounding_is_the_same_rounding(shape, output_axes, bits):
    weights = tf.constant(np.random.default_rng(0).normal(size=shape).astype("float32"))
    plain = round_weights_plainly(weights, bits, output_axes)
    np.testing.assert_allclose(plain, fake_quantize_weights(weights, bits, output_axes), atol=1e-6)


def test_half_precision_weights_are_those_of_numpy():
    weights = np.random.default_rng(0).normal(size=100).astype("float32")
    rounded = round_to_half(tf.constant(weights)).numpy()
    assert (rounded == weights.astype("float16").astype("float32")).all()
    assert round_to_half(tf.constant([1e6])).numpy() == [65504.0]


@pytest.mark.parametrize("rounding", [round_weights_plainly, round_to_half])
def test_plain_rounding_passes_gradients_straight_through_in_float32(rounding):
    weights = tf.Variable([[0.3, -1.0], [0.2, 0.7]])
    upstream = tf.constant([[1e-9, 2.0], [3.0, 1e9]])  # half precision holds neither end
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(rounding(weights) * upstream)
    assert (tape.gradient(loss, weights).numpy() == upstream.numpy()).all()


def test_weights_outside_a_given_limit_are_clipped_and_get_no_gradient():
    weights = tf.Variable([[0.5, 3.0], [-2.0, 1.0]])
    with tf.GradientTape() as tape:
        rounded = fake_quantize_weights(weights, 8, (1,), tf.constant([1.27, 2.54]))
        loss = tf.reduce_sum(rounded)
    np.testing.assert_allclose(rounded, [[0.5, 2.54], [-1.27, 1.0]], atol=1e-6)
    assert tape.gradient(loss, weights).numpy().tolist() == [[1.0, 0.0], [0.0, 1.0]]
