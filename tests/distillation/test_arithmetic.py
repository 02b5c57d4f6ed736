"""The losses against values worked out by hand, and against Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcompress.distillation import arithmetic

LN2, LN3 = np.log(2.0), np.log(3.0)


def test_soft_labels_at_temperature_one_are_the_divergence():
    # Probabilities (1/2, 1/2) against (3/4, 1/4): KL = 1/2 ln(2/3) + 1/2 ln 2 = ln 2 - ln(3)/2.
    values = arithmetic.soft_label_divergence(np.array([[0.0, 0.0]]), np.array([[LN3, 0.0]]), 1.0)
    np.testing.assert_allclose(values, [LN2 - LN3 / 2], rtol=1e-6)


def test_soft_labels_scale_by_the_temperature_squared():
    # Dividing doubled logits by 2 gives the probabilities of the test above; T squared is 4.
    values = arithmetic.soft_label_divergence(
        np.array([[0.0, 0.0]]), np.array([[2 * LN3, 0.0]]), 2.0
    )
    np.testing.assert_allclose(values, [4 * (LN2 - LN3 / 2)], rtol=1e-6)


def test_soft_labels_agree_with_keras():
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, 16, 5)).astype("float32")
    ours = keras.ops.mean(arithmetic.soft_label_divergence(teacher, student, 3.0))
    # Named as a string, Keras 3.15 takes the divergence of the raw logits: see the adapter's test.
    divergence = keras.losses.KLDivergence()
    theirs = keras.distillation.LogitsDistillation(3.0, divergence).compute_loss(teacher, student)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_soft_binary_divergence_is_the_two_class_divergence():
    # One sigmoid unit z is a softmax over (z, 0); both units have the same divergence here.
    values = arithmetic.soft_binary_divergence(np.array([[0.0, 0.0]]), np.array([[LN3, -LN3]]), 1.0)
    np.testing.assert_allclose(values, [LN2 - LN3 / 2], rtol=1e-6)


def test_soft_binary_divergence_scales_by_the_temperature_squared():
    values = arithmetic.soft_binary_divergence(np.array([[0.0]]), np.array([[2 * LN3]]), 2.0)
    np.testing.assert_allclose(values, [4 * (LN2 - LN3 / 2)], rtol=1e-6)


def test_hard_labels_are_the_crossentropy_with_the_most_probable_class():
    # The student gives the teacher's class 1 the probability 1/4.
    values = arithmetic.hard_label_crossentropy(np.array([[0.0, 9.0]]), np.array([[LN3, 0.0]]))
    np.testing.assert_allclose(values, [2 * LN2], rtol=1e-6)


def test_hard_binary_labels_decide_at_zero():
    # Units decided on and off; the student gives both decisions the probability 3/4.
    values = arithmetic.hard_binary_crossentropy(np.array([[5.0, -5.0]]), np.array([[LN3, -LN3]]))
    np.testing.assert_allclose(values, [2 * LN2 - LN3], rtol=1e-6)


def test_mean_squared_difference():
    values = arithmetic.mean_squared_difference(
        np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[1.0, 4.0], [3.0, 1.0]])
    )
    np.testing.assert_allclose(values, [2.0, 5.0])


@pytest.mark.parametrize(
    ("activation", "invert"), [("softmax", keras.ops.softmax), ("sigmoid", keras.ops.sigmoid)]
)
def test_logits_of_inverts_the_head(activation, invert):
    probabilities = np.array([[0.1, 0.2, 0.7]], "float32")
    logits = arithmetic.logits_of(probabilities, activation)
    np.testing.assert_allclose(invert(logits), probabilities, rtol=1e-6)


def test_logits_of_certain_probabilities_are_finite():
    for activation in ("softmax", "sigmoid"):
        assert np.all(np.isfinite(arithmetic.logits_of(np.array([[0.0, 1.0]]), activation)))


@pytest.mark.parametrize(
    ("weight", "mask", "expected"),
    [
        (None, None, 3.0),
        ([0.0, 3.0, 1.0], None, 4.0),
        (None, [True, False, True], 3.5),
        ([2.0, 9.0, 1.0], [True, False, True], 4.0),
    ],
)
def test_weighted_mean_by_hand(weight, mask, expected):
    weight, mask = (None if x is None else np.array(x) for x in (weight, mask))
    result = arithmetic.weighted_mean(np.array([1.0, 2.0, 6.0]), weight, mask)
    np.testing.assert_allclose(result, expected)


def test_weighted_mean_ignores_nan_under_the_mask():
    values = np.array([[1.0, np.nan], [3.0, np.nan]])
    np.testing.assert_allclose(arithmetic.weighted_mean(values, None, ~np.isnan(values)), 2.0)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_weighted_mean_agrees_with_keras(weighted, masked):
    rng = np.random.default_rng(1)
    target, output = rng.normal(size=(2, 4, 6, 3)).astype("float32")
    weight = rng.uniform(size=(4, 6)).astype("float32") if weighted else None
    mask = rng.uniform(size=(4, 6)) > 0.4 if masked else None
    tensor = keras.ops.convert_to_tensor(output)
    if masked:
        tensor._keras_mask = keras.ops.convert_to_tensor(mask)
    expected = keras.losses.MeanSquaredError()(target, tensor, sample_weight=weight)
    values = keras.ops.mean(keras.ops.square(target - output), axis=-1)
    np.testing.assert_allclose(arithmetic.weighted_mean(values, weight, mask), expected, rtol=1e-5)


def test_attention_map_is_the_normalised_mean_activity():
    # Two positions, two channels: squares average to 8 and 6, of length 10.
    feature = np.array([[[4.0, 0.0], [-np.sqrt(6), np.sqrt(6)]]], "float32")
    np.testing.assert_allclose(arithmetic.attention_map(feature), [[0.8, 0.6]], rtol=1e-6)


def test_attention_map_of_a_dead_feature_is_zero():
    np.testing.assert_array_equal(arithmetic.attention_map(np.zeros((1, 2, 3))), [[0, 0]])


def test_attention_difference_ignores_the_number_of_channels():
    teacher = np.array([[[4.0, 0.0], [-np.sqrt(6), np.sqrt(6)]]], "float32")
    student = np.array([[[1.0], [0.0]]], "float32")
    # Maps (0.8, 0.6) and (1, 0): the squares 0.04 and 0.36 average to 0.2.
    np.testing.assert_allclose(arithmetic.attention_difference(teacher, student), [0.2], rtol=1e-5)


def test_distance_difference_by_hand():
    # Points on a line at 0, 1, 3: distances 1, 2, 3 with mean 2; relative 0.5, 1, 1.5.
    # At 0, 1, 2: distances 1, 1, 2 with mean 4/3; relative 0.75, 0.75, 1.5.
    teacher, student = np.float32([[0], [1], [3]]), np.float32([[0], [1], [2]])
    # Huber of 0.25 is 1/32; pairs (0,1) and (1,2) differ by it, pair (0,2) does not.
    np.testing.assert_allclose(
        arithmetic.distance_difference(teacher, student),
        [1 / 64, 1 / 32, 1 / 64],
        rtol=1e-5,
    )


def test_distance_difference_is_blind_to_scale():
    points = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    np.testing.assert_allclose(
        arithmetic.distance_difference(points, 7 * points), np.zeros(5), atol=1e-10
    )


def test_angle_difference_by_hand():
    # A right angle at the first point, 45 degrees at the others; the student's lie on a line.
    teacher = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], "float32")
    student = np.array([[0.0], [1.0], [2.0]], "float32")
    # Cosines seen from each point: teacher 0, s, s with s = 1/sqrt 2; student 1, -1, 1.
    s = np.sqrt(0.5)
    expected = [0.5, s + 1 - 0.5, 0.5 * (1 - s) ** 2]
    np.testing.assert_allclose(arithmetic.angle_difference(teacher, student), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "difference", [arithmetic.distance_difference, arithmetic.angle_difference]
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
    np.testing.assert_allclose(arithmetic.flow_matrix(first, second), [[[3.5], [5.0]]])


def test_flow_matrix_pools_the_earlier_feature_to_the_later_size():
    first = np.arange(16.0, dtype="float32").reshape(1, 4, 4, 1)
    second = np.ones((1, 2, 2, 1), "float32")
    # The maxima of the four 2x2 blocks are 5, 7, 13 and 15: their mean is 10.
    np.testing.assert_allclose(arithmetic.flow_matrix(first, second), [[[10.0]]])


def test_flow_matrix_refuses_sizes_that_do_not_divide():
    with pytest.raises(ValueError, match="3 positions do not shrink to 2"):
        arithmetic.flow_matrix(np.ones((1, 3, 1)), np.ones((1, 2, 1)))


def test_flow_difference_by_hand():
    teacher = (np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.array([[[1.0], [2.0]]]))
    student = (np.array([[[1.0, 0.0], [1.0, 0.0]]]), np.array([[[1.0], [2.0]]]))
    # Matrices (3.5, 5) and (1.5, 0): squares 4 and 25.
    np.testing.assert_allclose(arithmetic.flow_difference(teacher, student), [14.5])
