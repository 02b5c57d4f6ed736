import itertools

import numpy as np
import pytest

from tfcompress.post_training.adaptive_rounding import (
    Grid,
    RoundWeights,
    Samples,
    compensated,
    damped,
    fitted,
    gram,
    largest_of_each_scale,
    round_compensating,
)


def correlated_rows(positions, groups, inputs, seed=0):
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(groups, inputs, inputs))
    return np.einsum("pgn,gnk->pgk", generator.normal(size=(positions, groups, inputs)), mixing)


def test_gram_by_hand():
    rows = np.array([[[1.0, 2.0]], [[3.0, 0.0]]])
    np.testing.assert_allclose(gram(rows), [[[5.0, 1.0], [1.0, 2.0]]])
    np.testing.assert_allclose(damped(gram(rows), 0.1)[0].diagonal(), [5.35, 2.35])


def test_errors_of_alike_inputs_cancel():
    products = np.array([[[1.0, 0.9], [0.9, 1.0]]])
    integers = round_compensating(
        np.array([[[1.4], [0.4]]]), products, np.ones((1, 1)), 127, np.zeros((1, 2, 1), bool)
    )
    assert integers[0, :, 0].tolist() == [1.0, 1.0]  # the nearest, 1 and 0, lack 0.8 together


def output_error(change, products):
    return float(change @ products @ change)


def test_near_the_best_of_all_roundings():
    generator = np.random.default_rng(1)
    offsets = np.array(list(itertools.product(range(-3, 5), repeat=4)))
    own, nearest, best = [], [], []
    for seed in range(20):
        products = gram(correlated_rows(50, 1, 4, seed))
        exact = generator.uniform(-3, 3, size=4)
        found = round_compensating(
            exact.reshape(1, 4, 1), products, np.ones((1, 1)), 127, np.zeros((1, 4, 1), bool)
        )
        own.append(output_error(found[0, :, 0] - exact, products[0]))
        nearest.append(output_error(np.round(exact) - exact, products[0]))
        changes = np.floor(exact) + offsets - exact
        best.append(np.einsum("ri,ij,rj->r", changes, products[0], changes).min())
    assert (np.array(own) >= np.array(best) - 1e-9).all()
    assert sum(own) < 0.7 * sum(nearest)
    assert sum(own) < 2.0 * sum(best)


def test_inputs_that_do_not_meet_are_rounded_to_the_nearest():
    products = np.eye(5)[None].repeat(3, 0)
    weights = np.random.default_rng(0).uniform(-3, 3, size=(3, 5, 2))
    integers = round_compensating(weights, products, np.ones((3, 2)), 127, weights > 9)
    np.testing.assert_array_equal(integers, np.round(weights))


def test_groups_do_not_meet():
    products = gram(correlated_rows(50, 3, 5))
    weights = np.random.default_rng(0).normal(size=(3, 5, 2))
    steps, free = np.full((3, 2), 0.1), np.zeros((3, 5, 2), bool)
    together = round_compensating(weights, products, steps, 127, free)
    for group in range(3):
        one = slice(group, group + 1)
        alone = round_compensating(weights[one], products[one], steps[one], 127, free[one])
        np.testing.assert_array_equal(together[one], alone)


def test_integers_stay_on_the_grid():
    products = gram(correlated_rows(50, 1, 6))
    weights = 20 * np.random.default_rng(0).normal(size=(1, 6, 3))
    free = np.zeros((1, 6, 3), bool)
    integers = round_compensating(weights, products, np.ones((1, 3)), 7, free)
    assert np.abs(integers).max() == 7
    np.testing.assert_array_equal(integers, np.round(integers))


def test_largest_of_each_scale():
    matrices = np.array([[[1.0, -5.0], [-3.0, 2.0]]])
    by_output = largest_of_each_scale(matrices, np.array([[0, 1]]))
    assert by_output.tolist() == [[[False, True], [True, False]]]
    by_tensor = largest_of_each_scale(matrices, np.array([[0, 0]]))
    assert by_tensor.tolist() == [[[False, True], [False, False]]]


def test_weights_are_fitted_to_changed_inputs():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(200, 1, 3))
    weights = generator.normal(size=(1, 3, 2))
    changed = rows * 0.5
    missing = (rows @ weights[0] - changed @ weights[0]).transpose(1, 0, 2)
    wanted = np.matmul(changed.transpose(1, 2, 0), missing) / len(rows)
    found = fitted(weights, damped(gram(changed), 1e-9), wanted)
    np.testing.assert_allclose(found, 2 * weights, rtol=1e-6)


@pytest.mark.parametrize("shared", [[[0, 1, 2]], [[0, 0, 0]]])
def test_rounded_weights_are_found_again_from_their_largest(shared):
    grid, own, nearest = Grid(np.array(shared), 127), 0.0, 0.0
    for seed in range(20):
        matrices = np.random.default_rng(seed + 100).normal(size=(1, 8, 3))
        rows = correlated_rows(300, 1, 8, seed)
        samples = Samples(rows, rows @ matrices[0] + 0.1, centered=True)
        rounded = compensated(matrices, grid, samples, 0.01)
        integers = rounded / grid.steps(rounded)[:, None]
        np.testing.assert_allclose(integers, np.round(integers), atol=1e-9)
        np.testing.assert_allclose(grid.nearest(rounded), rounded)
        own += samples.error(rounded)
        nearest += samples.error(grid.nearest(matrices))
    assert own < 0.7 * nearest


def test_weights_that_are_zero_stay_zero():
    generator = np.random.default_rng(0)
    rows = correlated_rows(300, 2, 8)
    matrices = generator.normal(size=(2, 8, 3)) * (generator.random((2, 8, 3)) < 0.5)
    wanted = np.einsum("pgn,gnm->pgm", rows, matrices)
    grid = Grid(np.arange(6).reshape(2, 3), 7)
    rounded = compensated(matrices, grid, Samples(rows, wanted, centered=False), 0.01)
    assert (rounded[matrices == 0] == 0).all()
    assert np.count_nonzero(rounded) > 0


def test_samples_judge_on_other_positions():
    samples = Samples(np.arange(32.0).reshape(32, 1, 1), np.zeros((32, 1, 1)), centered=True)
    choosing, judging = samples.split()
    assert judging.rows.ravel().tolist() == [6, 7, 14, 15, 22, 23, 30, 31]
    assert len(choosing.rows) == 24


@pytest.mark.parametrize("dampings", [(), (0.1, 0.0), (-1.0,)])
def test_bad_dampings(dampings):
    with pytest.raises(ValueError, match="Received: dampings="):
        RoundWeights(dampings)
