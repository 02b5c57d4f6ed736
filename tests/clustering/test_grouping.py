import numpy as np
import pytest
import tensorflow as tf

from tfcompress.clustering.grouping import means_of, nearest_members, values_of


@pytest.mark.parametrize("repetitions", [1, 2**14])  # few weights are searched, many compared
def test_nearest_by_hand(repetitions):
    weights = tf.constant([[-9.0, 0.4, 0.5, 9.0], [0.5, 0.6, 1.5, 1.6]])
    centroids = tf.constant([[0.0, 1.0, 2.0], [-1.0, 2.0, 4.0]])
    members = nearest_members(tf.tile(weights, [1, repetitions]), centroids)
    expected = np.tile([[0, 0, 0, 2], [0, 1, 1, 1]], [1, repetitions])
    np.testing.assert_array_equal(members, expected)
    assert members.dtype == tf.int32
    np.testing.assert_array_equal(
        values_of(members, centroids), np.take_along_axis(centroids.numpy(), expected, axis=1)
    )


@pytest.mark.parametrize("clusters", [1, 2, 16, 64, 65, 256])
def test_many_weights_are_searched_and_compared_alike(clusters):
    generator = np.random.default_rng(clusters)
    centroids = np.sort(generator.normal(size=(1, clusters)), axis=1).astype(np.float32)
    weights = generator.normal(size=(1, 2**14)).astype(np.float32)
    together = nearest_members(tf.constant(weights), tf.constant(centroids))
    parts = [
        nearest_members(part, tf.constant(centroids))
        for part in tf.split(tf.constant(weights), 2, axis=1)
    ]
    np.testing.assert_array_equal(together, tf.concat(parts, axis=1))


@pytest.mark.parametrize("gpus", [[], ["GPU:0"]])
def test_means_by_hand(gpus, monkeypatch):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus)
    numbers = tf.constant([[1.0, 2.0, 6.0, -1.0], [5.0, 7.0, 0.5, 0.5]])
    members = tf.constant([[0, 2, 2, 0], [1, 1, 0, 0]])
    means = means_of(numbers, members, tf.zeros([2, 3]))
    np.testing.assert_array_equal(means, [[0.0, 0.0, 4.0], [0.5, 6.0, 0.0]])
