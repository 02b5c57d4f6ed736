import keras
import numpy as np
import pytest

from tfcompress.pruning.criteria import Gradient, Random
from tfcompress.pruning.dynamic_sparse_training import RewiringPruner, drop_fraction, rewired
from tfcompress.pruning.patterns import Element
from tfcompress.pruning.pruner import prunable_kernels
from tfcompress.pruning.sparsity_distribution import ErdosRenyiKernel

MASK = np.array([True, True, True, False, False])
WEIGHTS = np.array([3.0, 0.1, 2.0, 0.0, 0.0])


def test_half_a_cosine():
    found = [drop_fraction(0.4, progress) for progress in (0.0, 1 / 3, 0.5, 1.0)]
    np.testing.assert_allclose(found, [0.4, 0.3, 0.2, 0.0], atol=1e-12)


@pytest.mark.parametrize(
    ("growth", "count", "expected"),
    [
        # The weight of 0.1 makes way for the place with a growth of 0.5.
        ([9.0, 0.2, 9.0, 0.5, 0.1], 1, [1, 0, 1, 1, 0]),
        # The place given up asks loudest, and is taken again.
        ([9.0, 0.9, 9.0, 0.5, 0.1], 1, [1, 1, 1, 0, 0]),
        # The weights of 0.1 and 2 go.
        ([9.0, 0.2, 0.3, 0.5, 0.4], 2, [1, 0, 0, 1, 1]),
        ([9.0, 0.2, 9.0, 0.5, 0.1], 0, [1, 1, 1, 0, 0]),
    ],
)
def test_the_smallest_move_to_where_growth_is_largest(growth, count, expected):
    mask = rewired(MASK, WEIGHTS, np.array(growth), count)
    np.testing.assert_array_equal(mask, np.array(expected, dtype=bool))


def make_pruner(criterion=None):
    model = keras.Sequential(
        [keras.Input((20,)), keras.layers.Dense(30), keras.layers.Dense(4, name="head")]
    )
    kernels = prunable_kernels(model)
    shapes = tuple(tuple(kernel.variable.shape) for kernel in kernels)
    distribution = ErdosRenyiKernel(shapes)
    return model, RewiringPruner(model, kernels, Element(), criterion or Random(), distribution)


def zeros(model):
    return [np.count_nonzero(layer.kernel.numpy() == 0) for layer in model.layers]


def test_first_masks_are_drawn_and_hold_exactly_so_many():
    model, pruner = make_pruner()
    pruner.start(0.8, seed=0)
    assert sum(zeros(model)) == round(0.8 * 720)
    assert zeros(model)[0] / 600 > 0.8 > zeros(model)[1] / 120  # the head is left denser
    first = pruner.masks()
    pruner.start(0.8, seed=0)
    np.testing.assert_array_equal(pruner.masks()[0], first[0])
    pruner.start(0.8, seed=1)
    assert (pruner.masks()[0] != first[0]).any()


def test_rewiring_keeps_the_number_of_each_kernel():
    model, pruner = make_pruner()
    pruner.start(0.8, seed=0)
    before, counts = pruner.masks(), zeros(model)
    growth = [Random(5).scores(mask, index) for index, mask in enumerate(before)]
    pruner.rewire(0.5, growth)
    after = pruner.masks()
    assert [np.count_nonzero(~mask) for mask in after] == counts
    moved = [np.count_nonzero(one & ~other) for one, other in zip(before, after, strict=True)]
    present = [np.count_nonzero(mask) for mask in before]
    assert all(0 < count <= n / 2 + 1 for count, n in zip(moved, present, strict=True))
    grown = after[0] & ~before[0]
    assert not model.layers[0].kernel.numpy()[grown].any()  # from zero


def test_masks_are_found_again_with_weights_that_have_just_grown():
    model, pruner = make_pruner()
    pruner.start(0.8, seed=0)
    pruner.rewire(0.3, [Random(5).scores(m, i) for i, m in enumerate(pruner.masks())])
    extra = sum(zeros(model)) - round(0.8 * 720)
    assert extra > 0
    weights = model.get_weights()
    twin, other = make_pruner(Gradient())
    twin.set_weights(weights)
    assert not other.recover(0.8)
    assert other.recover(0.8, moved=0.3)
    assert sum(np.count_nonzero(~mask) for mask in other.masks()) == round(0.8 * 720)
    for layer, mask in zip(twin.layers, other.masks(), strict=True):
        assert not layer.kernel.numpy()[~mask].any()
    assert not other.recover(0.5, moved=0.3)


def test_a_dense_model_and_a_model_of_zeros_are_not_taken_for_sparse():
    model, pruner = make_pruner()
    assert not pruner.recover(0.8, moved=0.3)
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    assert not pruner.recover(0.8, moved=0.3)
