import keras
import numpy as np
import pytest

from tfcompress.pruning.sparse_optimization import (
    SoftThreshold,
    SparsityRegularizer,
    next_strength,
    root_mean_square,
    soft_threshold,
)


def test_soft_threshold():
    np.testing.assert_array_equal(
        soft_threshold(np.array([-3.0, -1.0, 0.5, 2.0]), 1.0), [-2.0, 0.0, 0.0, 1.0]
    )


def test_soft_threshold_solves_the_proximal_problem():
    # argmin over w of (w - 0.7)^2 / 2 + 0.3 |w|, by trying every w on a grid.
    grid = np.linspace(-1, 1, 2001)
    best = grid[np.argmin((grid - 0.7) ** 2 / 2 + 0.3 * np.abs(grid))]
    assert float(soft_threshold(np.array([0.7]), 0.3)[0]) == pytest.approx(best)


def test_constraint_uses_the_present_learning_rate():
    decay = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 0.25])
    optimizer = keras.optimizers.SGD(decay)
    constraint = SoftThreshold(keras.Variable(2.0), optimizer, keras.constraints.NonNeg())
    weights = np.array([-4.0, 0.75, 3.0], dtype="float32")
    np.testing.assert_array_equal(constraint(weights), [0.0, 0.0, 2.0])
    optimizer.iterations.assign(5)
    np.testing.assert_array_equal(constraint(weights), [0.0, 0.25, 2.5])


def test_regularizer_by_hand():
    kernel = np.array([[3.0, 0.0], [-4.0, 0.0]], dtype="float32")
    strength = keras.Variable(0.5)
    assert float(SparsityRegularizer(strength)(kernel)) == 3.5
    # Columns of norm 5 and 0, each of two weights.
    group = SparsityRegularizer(strength, group_axes=(0,))
    assert float(group(kernel)) == pytest.approx(0.5 * np.sqrt(2) * 5)
    both = SparsityRegularizer(strength, regularizer=keras.regularizers.L2(0.1))
    assert float(both(kernel)) == pytest.approx(3.5 + 2.5)


def test_group_penalty_has_a_gradient_even_at_zero():
    import tensorflow as tf

    kernel = tf.Variable([[3.0, 0.0], [4.0, 0.0]])
    with tf.GradientTape() as tape:
        penalty = SparsityRegularizer(keras.Variable(1.0), group_axes=(0,))(kernel)
    gradient = tape.gradient(penalty, kernel).numpy()
    np.testing.assert_allclose(gradient, np.sqrt(2) * np.array([[0.6, 0.0], [0.8, 0.0]]))


def test_strength_moves_towards_the_target():
    assert next_strength(0.1, sparsity=0.3, target=0.5, gain=5.0) == pytest.approx(0.1 * np.e)
    assert next_strength(0.1, sparsity=0.7, target=0.5, gain=5.0) == pytest.approx(0.1 / np.e)


def test_root_mean_square():
    assert root_mean_square(np.array([[3.0, -4.0], [0.0, 0.0]])) == 2.5
