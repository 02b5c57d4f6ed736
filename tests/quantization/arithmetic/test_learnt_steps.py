import numpy as np
import pytest
import tensorflow as tf

from tfcompress.quantization.arithmetic.fake_quantization import (
    fake_quantize_activations,
    fake_quantize_weights,
    grid_levels,
    quantize_with_learned_step,
    usable_step,
)


def gradients(values, step, lowest, highest, count, upstream):
    values, step = tf.Variable(values), tf.Variable(step)
    with tf.GradientTape() as tape:
        rounded = quantize_with_learned_step(values, step, lowest, highest, count)
        loss = tf.reduce_sum(rounded * upstream)
    return [gradient.numpy() for gradient in tape.gradient(loss, [values, step])]


def test_gradients_by_hand():
    # v/s = 0.3, 1.6, 9, -9 on the grid -2..3: round(v/s) - v/s = -0.3, 0.4; then 3 and -2
    to_values, to_step = gradients([0.3, 1.6, 9.0, -9.0], 1.0, -2, 3, 4, [1.0, 10.0, 100.0, 1000.0])
    assert to_values.tolist() == [1.0, 10.0, 0.0, 0.0]
    expected = (-0.3 * 1 + 0.4 * 10 + 3 * 100 - 2 * 1000) / np.sqrt(4 * 3)
    assert to_step == pytest.approx(expected, rel=1e-5)


def test_each_channel_has_its_own_gradient():
    values = np.float32([[0.3, 0.3], [0.6, 6.0]])
    step = np.float32([[1.0, 2.0]])
    to_values, to_step = gradients(values, step, -1, 1, 2, np.ones((2, 2), "float32"))
    assert to_values.tolist() == [[1.0, 1.0], [1.0, 0.0]]
    # first channel: -0.3 + 0.4; second: -0.15 + 1 (clipped)
    np.testing.assert_allclose(to_step, np.float32([[0.1, 0.85]]) / np.sqrt(2), rtol=1e-5)


def test_weights_are_those_of_the_export():
    weights = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype("float32")
    step = np.float32([0.01, 0.02, 0.004, 0.03, 0.05])
    trained = quantize_with_learned_step(tf.constant(weights), tf.constant(step), -127, 127, 36)
    exported = fake_quantize_weights(tf.constant(weights), 8, (3,), tf.constant(step * 127))
    np.testing.assert_allclose(trained, exported, atol=1e-6)


@pytest.mark.parametrize("symmetric", [False, True])
def test_activations_are_those_of_the_export(symmetric):
    values = np.random.default_rng(0).normal(size=(4, 50)).astype("float32")
    smallest, largest = tf.constant(-1.3), tf.constant(2.1)
    lowest, highest, step = grid_levels(smallest, largest, 8, symmetric)
    trained = quantize_with_learned_step(tf.constant(values), step, lowest, highest, 50)
    exported = fake_quantize_activations(
        tf.constant(values), tf.stack([lowest * step, highest * step]), 8, symmetric
    )
    np.testing.assert_allclose(trained, exported, atol=1e-6)


def test_half_precision_gradients_are_summed_in_float32():
    values = tf.Variable(np.full(4096, 0.3, "float16"))
    step = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        rounded = quantize_with_learned_step(values, step, -1, 1, 4096)
        loss = tf.reduce_sum(tf.cast(rounded, tf.float32))
    assert rounded.dtype == tf.float16
    gradient = tape.gradient(loss, step)
    assert gradient.dtype == tf.float32
    exact = -np.float32(np.float16(0.3)) * 4096 / np.sqrt(4096)
    assert gradient.numpy() == pytest.approx(exact, rel=1e-5)


def test_what_is_never_positive_has_a_gradient():
    # v/s = -0.3, -9 on the grid -4..0: -0.3 gives 0.3, -9 gives -4
    _, to_step = gradients([-0.3, -9.0], 1.0, -4, 0, 2, [1.0, 1.0])
    assert to_step == pytest.approx((0.3 - 4) / np.sqrt(2 * 4), rel=1e-5)


def test_steps_that_overshot_come_back():
    step = tf.Variable([-0.1, 0.2, 0.01])
    with tf.GradientTape() as tape:
        usable = usable_step(step, tf.constant([0.8, 0.8, 0.0]))
    np.testing.assert_allclose(usable, [0.05, 0.2, 0.01], rtol=1e-6)
    assert tape.gradient(usable, step).numpy().tolist() == [1.0, 1.0, 1.0]
