import numpy as np
import pytest
import tensorflow as tf

from tfcompress.clustering import DifferentiableKMeans
from tfcompress.clustering.soft_kmeans import soft_clusters


def test_values_settle_at_the_means_of_separate_heaps():
    weights = tf.constant([[0.9, 1.1, 4.9, 5.1], [-2.0, -2.0, 2.0, 2.2]])
    mixed, values = soft_clusters(weights, tf.constant([[1.5, 4.0], [-1.0, 1.0]]), 0.1, 4)
    np.testing.assert_allclose(values, [[1.0, 5.0], [-2.0, 2.1]], atol=1e-4)
    np.testing.assert_allclose(mixed, [[1, 1, 5, 5], [-2, -2, 2.1, 2.1]], atol=1e-4)


def test_a_weight_between_two_values_is_a_mixture_by_hand():
    # Deviation of the weights: 1. Distances 1 and 3 of the weight 1 to the values 0 and 4.
    weights = tf.constant([[1.0, 3.0]])
    held = tf.constant([[0.0, 4.0]])
    shares = np.exp([-1.0 / 0.5, -3.0 / 0.5])
    shares /= shares.sum()
    _, moved = soft_clusters(weights, held, 0.5, 1)
    np.testing.assert_allclose(moved, [[shares @ [1, 3], shares @ [3, 1]]], rtol=1e-5)


def test_gradients_reach_weights_through_the_values():
    """Numbers from differences, as an independent account."""
    start = np.float64([[0.5, 1.2, 2.0, 3.1]])
    centroids = tf.constant([[0.7, 2.5]], tf.float64)
    target = tf.constant([[1.0, -1.0, 2.0, 0.5]], tf.float64)

    def loss(weights):
        # The softness is a constant for gradients, and here for differences as well.
        return tf.reduce_sum(target * soft_clusters(weights, centroids, 0.3, 3)[0])

    weights = tf.constant(start)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        value = loss(weights)
    found = tape.gradient(value, weights).numpy()[0]
    # Shifts that keep the deviation: all weights together.
    step = 1e-6
    shifted = float(tf.reduce_sum(target * soft_clusters(weights + step, centroids, 0.3, 3)[0]))
    assert found.sum() == pytest.approx((shifted - float(value)) / step, rel=1e-3)
    assert np.abs(found).min() > 0


def test_zeros_stay_zero_and_hold_their_value():
    weights = tf.constant([[0.0, 0.0, 1.0, 1.2, -1.0]])
    mixed, values = soft_clusters(weights, tf.constant([[-1.0, 0.0, 1.0]]), 0.1, 3)
    np.testing.assert_allclose(values, [[-1.0, 0.0, 1.1]], atol=1e-3)
    assert mixed.numpy()[0, :2].tolist() == [0.0, 0.0]


def test_a_value_that_nothing_attends_to_stays():
    _, values = soft_clusters(tf.constant([[1.0, 2.0]]), tf.constant([[1.5, 900.0]]), 0.1, 3)
    np.testing.assert_allclose(values, [[1.5, 900.0]], atol=1e-5)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"iterations": 0}, {"iterations": 1.5}])
def test_settings_out_of_range_are_named(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name}={wrong[name]}"):
        DifferentiableKMeans(**wrong)
