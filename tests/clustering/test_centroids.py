import numpy as np
import pytest

from tfcompress.clustering.centroids import INITIALIZATIONS, kmeans_plus_plus


def test_linear_and_density_by_hand():
    weights = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 100.0])
    assert INITIALIZATIONS["linear"](weights, 3, None).tolist() == [0.0, 50.0, 100.0]
    np.testing.assert_allclose(INITIALIZATIONS["density"](weights, 2, None), [1.25, 3.75])


def test_kmeans_finds_separate_heaps():
    heaps = np.concatenate([centre + np.array([-0.1, 0.0, 0.1]) for centre in (-5.0, 0.0, 7.0)])
    for seed in range(10):
        found = kmeans_plus_plus(heaps, 3, np.random.default_rng(seed))
        np.testing.assert_allclose(found, [-5.0, 0.0, 7.0], atol=1e-12)


def test_kmeans_with_fewer_distinct_weights_than_clusters():
    found = kmeans_plus_plus(np.array([1.0, 1.0, 2.0]), 3, np.random.default_rng(0))
    assert set(found) == {1.0, 2.0}
    assert len(found) == 3


@pytest.mark.parametrize("name", INITIALIZATIONS)
def test_initial_values_ascend_and_depend_on_the_seed_alone(name):
    weights = np.random.default_rng(0).normal(size=50)
    one, same = (INITIALIZATIONS[name](weights, 8, np.random.default_rng(3)) for _ in range(2))
    assert (np.diff(one) > 0).all()
    np.testing.assert_array_equal(one, same)


def test_kmeans_ends_where_each_value_is_the_mean_of_its_weights():
    weights = np.random.default_rng(0).normal(size=40)
    found = kmeans_plus_plus(weights, 4, np.random.default_rng(0))
    nearest = np.abs(weights[:, None] - found).argmin(axis=1)
    means = [weights[nearest == place].mean() for place in range(4)]
    np.testing.assert_allclose(found, means, rtol=1e-12)
