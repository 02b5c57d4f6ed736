import keras
import numpy as np
import pytest

from tfcompress.pruning.masks import MaskConstraint, count_masked, smallest, smallest_by_size


@pytest.mark.parametrize(
    ("groups", "sparsity", "masked"),
    [(16, 0.5, 8), (10, 0.25, 2), (14, 0.25, 4), (3, 0.5, 2), (4, 0.9, 3), (1, 0.9, 0), (7, 0, 0)],
)
def test_counts_round_halves_to_even_and_keep_one(groups, sparsity, masked):
    assert count_masked(groups, sparsity) == masked


def test_smallest_breaks_ties_by_position():
    scores = np.array([[2.0, 1.0, 1.0], [1.0, 0.0, 5.0]])
    np.testing.assert_array_equal(smallest(scores, 3), [[False, True, True], [False, True, False]])
    assert not smallest(scores, 0).any()
    assert smallest(scores, 6).all()


@pytest.mark.parametrize("count", range(0, 201, 20))
def test_smallest_is_exact_with_many_ties(count):
    scores = np.random.default_rng(0).integers(0, 4, size=200).astype("float32")
    marked = smallest(scores, count)
    assert np.count_nonzero(marked) == count
    np.testing.assert_array_equal(
        np.flatnonzero(marked), np.sort(np.argsort(scores, kind="stable")[:count])
    )


def test_smallest_by_size_counts_weights_not_groups():
    scores = np.array([1.0, 3.0, 2.0, np.inf])
    sizes = np.array([4, 4, 2, 1])
    np.testing.assert_array_equal(smallest_by_size(scores, sizes, 6), [True, False, True, False])
    # 4 is nearer to 4.4 than 6 is; infinite scores stay whatever is asked for.
    np.testing.assert_array_equal(smallest_by_size(scores, sizes, 5), [True, False, False, False])
    np.testing.assert_array_equal(smallest_by_size(scores, sizes, 11), [True, True, True, False])


def test_constraint_masks_after_the_users_own():
    constraint = MaskConstraint([[True, False], [False, True]], keras.constraints.NonNeg())
    weights = np.array([[-1.0, 2.0], [np.nan, 4.0]], dtype="float32")
    np.testing.assert_array_equal(constraint(weights), [[0.0, 0.0], [0.0, 4.0]])


def test_constraint_takes_a_byte_a_weight():
    mask = MaskConstraint(np.ones((30, 7), bool)).mask
    assert keras.ops.convert_to_numpy(mask).nbytes == 210
    assert mask.dtype == "bool"


def test_constraint_survives_serialisation_with_its_mask():
    mask = np.random.default_rng(1).random((5, 3)) > 0.5
    constraint = MaskConstraint(mask, keras.constraints.MaxNorm(2.0))
    layer = keras.layers.Dense(3, kernel_constraint=constraint)
    copy = keras.layers.Dense.from_config(layer.get_config()).kernel_constraint
    np.testing.assert_array_equal(copy.mask, mask)
    assert copy.constraint.max_value == 2.0
