"""Feature losses against values worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfcompress.distillation import feature_arithmetic


def test_attention_map_is_the_normalised_mean_activity():
    # Two positions, two channels: squares average to 8 and 6, of length 10.
    feature = np.array([[[4.0, 0.0], [-np.sqrt(6), np.sqrt(6)]]], "float32")
    np.testing.assert_allclose(feature_arithmetic.attention_map(feature), [[0.8, 0.6]], rtol=1e-6)


def test_attention_map_of_a_dead_feature_is_zero():
    np.testing.assert_array_equal(feature_arithmetic.attention_map(np.zeros((1, 2, 3))), [[0, 0]])


def test_attention_difference_ignores_the_number_of_channels():
    teacher = np.array([[[4.0, 0.0], [-np.sqrt(6), np.sqrt(6)]]], "float32")
    student = np.array([[[1.0], [0.0]]], "float32")
    # Maps (0.8, 0.6) and (1, 0): the squares 0.04 and 0.36 average to 0.2.
    np.testing.assert_allclose(
        feature_arithmetic.attention_difference(teacher, student), [0.2], rtol=1e-5
    )


def test_distance_difference_by_hand():
    # Points on a line at 0, 1, 3: distances 1, 2, 3 with mean 2; relative 0.5, 1, 1.5.
    # At 0, 1, 2: distances 1, 1, 2 with mean 4/3; relative 0.75, 0.75, 1.5.
    teacher, student = np.float32([[0], [1], [3]]), np.float32([[0], [1], [2]])
    # Huber of 0.25 is 1/32; pairs (0,1) and (1,2) differ by it, pair (0,2) does not.
    np.testing.assert_allclose(
        feature_arithmetic.distance_difference(teacher, student),
        [1 / 64, 1 / 32, 1 / 64],
        rtol=1e-5,
    )


def test_distance_difference_is_blind_to_scale():
    points = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    np.testing.assert_allclose(
        feature_arithmetic.distance_difference(points, 7 * points), np.zeros(5), atol=1e-10
    )


def test_angle_difference_by_hand():
    # A right angle at the first point, 45 degrees at the others; the student's lie on a line.
    teacher = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], "float32")
    student = np.array([[0.0], [1.0], [2.0]], "float32")
    # Cosines seen from each point: teacher 0, s, s with s = 1/sqrt 2; student 1, -1, 1.
    s = np.sqrt(0.5)
    expected = [0.5, s + 1 - 0.5, 0.5 * (1 - s) ** 2]
    np.testing.assert_allclose(
        feature_arithmetic.angle_difference(teacher, student), expected, rtol=1e-5
    )


@pytest.mark.parametrize(
    "difference", [feature_arithmetic.distance_difference, feature_arithmetic.angle_difference]
)
@pytest.mark.parametrize("points", [np.zeros((3, 2)), np.ones((1, 2))])
def test_coinciding_examples_have_finite_gradients(difference, points):
    student = tf.constant(points, "float32")
    with tf.GradientTape() as tape:
        tape.watch(student)
        values = difference(tf.constant(points + np.arange(2.0), "float32"), student)
    assert np.all(np.isfinite(values))
    assert np.all(np.isfinite(tape.gradient(values, student)))


def test_flow_matrix_by_hand():
    first = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    second = np.array([[[1.0], [2.0]]])
    # Channel sums over two positions: 1*1 + 3*2 = 7 and 2*1 + 4*2 = 10, halved.
    np.testing.assert_allclose(feature_arithmetic.flow_matrix(first, second), [[[3.5], [5.0]]])


def test_flow_matrix_pools_the_earlier_feature_to_the_later_size():
    first = np.arange(16.0, dtype="float32").reshape(1, 4, 4, 1)
    second = np.ones((1, 2, 2, 1), "float32")
    # The maxima of the four 2x2 blocks are 5, 7, 13 and 15: their mean is 10.
    np.testing.assert_allclose(feature_arithmetic.flow_matrix(first, second), [[[10.0]]])


def test_flow_matrix_refuses_sizes_that_do_not_divide():
    with pytest.raises(ValueError, match="3 positions do not shrink to 2"):
        feature_arithmetic.flow_matrix(np.ones((1, 3, 1)), np.ones((1, 2, 1)))


def test_flow_difference_by_hand():
    teacher = (np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.array([[[1.0], [2.0]]]))
    student = (np.array([[[1.0, 0.0], [1.0, 0.0]]]), np.array([[[1.0], [2.0]]]))
    # Matrices (3.5, 5) and (1.5, 0): squares 4 and 25.
    np.testing.assert_allclose(feature_arithmetic.flow_difference(teacher, student), [14.5])
