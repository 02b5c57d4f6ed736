import numpy as np
import pytest

from tfcompress.pruning.sparsity_distribution import (
    ErdosRenyiKernel,
    GlobalThreshold,
    LayerAdaptive,
    PerLayer,
    erdos_renyi_kernel,
    largest_remainder,
    layer_adaptive,
)

SCORES = [np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([2.5, 3.5, 5.0, 6.0, 7.0, 8.0])]
SIZES = [np.ones((2, 2), int), np.ones(6, int)]


def choose(distribution, sparsity, scores=SCORES, sizes=SIZES):
    return [marked.astype(int).tolist() for marked in distribution.choose(scores, sizes, sparsity)]


def test_per_layer_gives_each_its_share():
    assert choose(PerLayer((1.0, 1.0)), 0.5) == [[[1, 1], [0, 0]], [1, 1, 1, 0, 0, 0]]
    assert choose(PerLayer((0.5, 1.5)), 0.5) == [[[1, 0], [0, 0]], [1, 1, 1, 1, 0, 0]]


def test_global_uses_one_threshold():
    everything = GlobalThreshold((0.0, 0.0), (1.0, 1.0), final=0.5)
    assert choose(everything, 0.5) == [[[1, 1], [1, 0]], [1, 1, 0, 0, 0, 0]]
    # However small its scores are, one weight of each kernel stays.
    assert choose(everything, 0.4, [SCORES[0], SCORES[1] + 9]) == [[[1, 1], [1, 0]], [1] + [0] * 5]


def test_global_respects_the_bounds_of_each_kernel():
    bounded = GlobalThreshold((0.0, 0.5), (0.5, 1.0), final=0.5)
    assert choose(bounded, 0.5) == [[[1, 1], [0, 0]], [1, 1, 1, 0, 0, 0]]
    # Half way to the final sparsity the floor is at half its height: 1.5 of 6, to even 2.
    assert choose(bounded, 0.25, [SCORES[0], SCORES[1] + 9]) == [
        [[0, 0], [0, 0]],
        [1, 1, 0, 0, 0, 0],
    ]


def test_global_weighs_groups_by_their_size():
    scores = [np.array([1.0, 4.0]), np.array([2.0, 3.0, 9.0])]
    sizes = [np.array([4, 4]), np.array([2, 2, 2])]
    everything = GlobalThreshold((0.0, 0.0), (1.0, 1.0), final=0.9)
    assert choose(everything, 6 / 14, scores, sizes) == [[1, 0], [1, 0, 0]]


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9, 0.99])
def test_erk_meets_the_budget_and_favours_small_kernels(sparsity):
    shapes = [(3, 3, 3, 16), (3, 3, 16, 64), (1, 1, 64, 256), (256, 10)]
    sizes = np.array([np.prod(shape) for shape in shapes])
    shares = np.array(erdos_renyi_kernel(shapes, sparsity))
    assert (shares >= 0).all()
    assert (shares < 1).all()
    assert shares @ sizes == pytest.approx(sparsity * sizes.sum(), rel=1e-12)
    if sparsity:
        assert shares[3] <= shares[0] <= shares[2] <= shares[1]


def test_erk_follows_the_rule():
    # Raw densities 20/100 and 40/400, so 2 to 1; kept 250 = (0.2 * 100 + 0.1 * 400) * 25/6.
    first, second = erdos_renyi_kernel([(10, 10), (20, 20)], 0.5)
    assert (1 - first) / (1 - second) == pytest.approx(2.0)
    assert [first, second] == pytest.approx([1 - 5 / 6, 1 - 5 / 12])


@pytest.mark.parametrize("sparsity", [0.1, 1 / 3, 0.5, 0.77, 0.9])
def test_erk_hits_the_budget_to_the_last_weight(sparsity):
    shapes = ((7, 5), (11, 13), (3, 3, 4, 9), (2, 2))
    rng = np.random.default_rng(0)
    scores = [rng.random(shape) for shape in shapes]
    marked = ErdosRenyiKernel(shapes).choose(scores, [np.ones(s, int) for s in shapes], sparsity)
    total = sum(np.prod(shape) for shape in shapes)
    assert sum(np.count_nonzero(m) for m in marked) == round(sparsity * total)


def test_lamp_scores_are_shares_of_the_squares_that_are_not_smaller():
    ascending = np.array([0.0, 1.0, 2.0, 3.0])
    found = layer_adaptive(ascending)
    np.testing.assert_allclose(found, [0.0, 1 / 14, 4 / 13, 1.0], rtol=1e-15)
    np.testing.assert_array_equal(layer_adaptive(4 * ascending), found)
    # What must stay does, and so does the order of masked weights, drawn below zero, to regrow.
    np.testing.assert_array_equal(layer_adaptive(np.array([-0.3, 2.0, np.inf])), [-0.3, 1, np.inf])


def test_lamp_spares_the_small_kernel_whatever_its_scale():
    scores = [np.array([0.01, 0.02]), np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])]
    sizes = [np.ones(2, int), np.ones(6, int)]
    # Shares: 0.2 and 1 against 1/91, 4/90, 9/86, 16/77, 25/61 and 1.
    assert choose(LayerAdaptive(), 3 / 8, scores, sizes) == [[0, 0], [1, 1, 1, 0, 0, 0]]
    assert choose(LayerAdaptive(), 4 / 8, scores, sizes) == [[1, 0], [1, 1, 1, 0, 0, 0]]
    # The largest weight of each kernel stays.
    assert choose(LayerAdaptive(), 7 / 8, scores, sizes) == [[1, 0], [1, 1, 1, 1, 1, 0]]


def test_largest_remainder_keeps_the_sum():
    assert largest_remainder([10, 10, 10], [0.33, 0.33, 0.34]) == [3, 3, 4]
    assert largest_remainder([4, 1, 1], [0.5, 0.9, 0.9]) == [3, 0, 0]
    assert largest_remainder([10], [0.1 + 0.2]) == [3]
