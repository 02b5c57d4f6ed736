import numpy as np
import tensorflow as tf

from tfcompress.clustering.constraint import ClusterConstraint
from tfcompress.clustering.grouping import group, ungroup


def test_each_value_follows_the_mean_update_of_its_weights():
    weights = np.float32([[0.1, 0.9], [-0.1, 1.1]])
    constraint = ClusterConstraint((2, 2), [[0.0, 1.0]], weights)
    np.testing.assert_allclose(constraint.clustered(), [[0, 1], [0, 1]])
    # Updates of 0.1 and 0.3 on the weights at 0, of -0.2 and 0 on those at 1.
    found = constraint(tf.constant([[0.1, 0.8], [0.3, 1.0]]))
    np.testing.assert_allclose(found, [[0.2, 0.9], [0.2, 0.9]], atol=1e-6)


def test_a_weight_changes_over_to_a_value_that_has_come_nearer():
    weights = np.float32([0.1, 0.45, 1.0])
    constraint = ClusterConstraint((3,), [[0.0, 1.0]], weights)
    # By itself the second weight would now be at 0.45 + 0.3: nearer to 1.
    found = constraint(tf.constant([0.0, 0.3, 1.0]))
    np.testing.assert_allclose(found, [0.15, 1.0, 1.0], atol=1e-6)


def test_without_mobility_a_weight_changes_over_when_a_value_comes_to_it():
    weights = np.float32([-0.1, 0.4, 1.0])
    constraint = ClusterConstraint((3,), [[-0.1, 1.0]], weights, mobility=0.0)
    # Its own update of 0.5 does not count: 0.4 is nearer to 0.25 than to 1.
    found = constraint(tf.constant([0.1, 0.4, 1.0]))
    np.testing.assert_allclose(found, [0.25, 0.25, 1.0], atol=1e-6)
    # Now the other value comes down to 0.5.
    found = constraint(tf.constant([0.25, 0.25, 0.5]))
    np.testing.assert_allclose(found, [0.25, 0.5, 0.5], atol=1e-6)


def test_zeros_stay_zero():
    weights = np.float32([0.0, 0.2, -1.0, 0.0])
    constraint = ClusterConstraint((4,), [[-1.0, 0.0, 0.2]], weights)
    found = constraint(tf.constant([0.5, 0.3, -1.1, -0.5])).numpy()
    np.testing.assert_allclose(found, [0.0, 0.3, -1.1, 0.0], atol=1e-6)


def test_a_weight_that_passes_through_zero_is_not_pruned():
    constraint = ClusterConstraint((3,), [[0.5, 1.0]], np.float32([0.25, 0.6, 1.0]))
    # Updates of -0.25 and 0.1 on the weights at 0.5: the first is 0 by itself now.
    found = constraint(tf.constant([0.25, 0.6, 1.0]))
    np.testing.assert_allclose(found, [0.425, 0.425, 1.0], atol=1e-6)
    found = constraint(tf.constant([0.75, 0.425, 1.0]))
    np.testing.assert_allclose(found, [0.5875, 0.5875, 1.0], atol=1e-6)


def test_the_constraint_of_the_user_comes_first():
    constraint = ClusterConstraint((2,), [[0.0, 1.0]], np.float32([0.0, 1.0]), "non_neg")
    found = constraint(tf.constant([-1.0, 1.5])).numpy()
    np.testing.assert_allclose(found, [0.0, 1.5])


def test_groups_of_output_channels():
    weights = np.arange(12.0).reshape(3, 4)
    assert group(weights, 2).tolist() == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]
    for groups in (1, 2, 4):
        grouped = tf.constant(group(weights, groups))
        np.testing.assert_array_equal(ungroup(grouped, (3, 4)), weights)


def test_rebuilt_from_its_config():
    weights = np.float32([[0.1, 0.9], [-0.1, 1.1]])
    constraint = ClusterConstraint((2, 2), [[0.0, 1.0]], weights, "non_neg")
    constraint(tf.constant([[0.1, 0.8], [0.3, 1.0]]))
    twin = ClusterConstraint.from_config(constraint.get_config())
    np.testing.assert_array_equal(twin.clustered(), constraint.clustered())
    update = tf.constant([[0.5, 0.5], [0.3, 1.0]])
    np.testing.assert_array_equal(twin(update), constraint(update))
