"""The losses against values worked out by hand, and against Keras's own."""

import keras
import numpy as np
import pytest

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
