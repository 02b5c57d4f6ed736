"""What masks among scores are replaced by, on hand-made scores."""

import numpy as np
import pytest
import tensorflow as tf

from tfcompress.quantization.arithmetic.masks import (
    ADDED_MASK,
    BELOW_SCORES,
    BELOW_SUMMANDS,
    NEAR,
    floor_of_scores,
    least_that_counts,
    without_masks,
)

NO_FLOOR = np.finfo(np.float32).min


@pytest.mark.parametrize("mask", [-1e9, -1e4, -100.0, -40.0, -np.inf])
def test_a_mask_lies_below_the_scores_by_a_margin(mask):
    scores = np.float32([[5.0, mask, -4.0], [0.0, mask + 1.0, mask - 1.0]])
    assert floor_of_scores(scores, BELOW_SCORES) == -12.0
    assert floor_of_scores(scores, BELOW_SUMMANDS) == -36.0


@pytest.mark.parametrize(
    "scores",
    [[5.0, -4.0, -11.0], [60.0, 30.0, 2.0, -40.0], [3.0, 3.0], [1.0, 1.0 - NEAR]],
)
def test_scores_that_differ_little_by_little_are_not_masked(scores):
    assert floor_of_scores(np.float32(scores), BELOW_SCORES) == NO_FLOOR


def test_several_masks_are_one():
    scores = np.float32([5.0, -4.0, -1e4, -2e4 + 3.0])
    assert floor_of_scores(scores, BELOW_SCORES) == -12.0


def test_a_mask_that_is_to_be_added_leaves_any_score_behind():
    assert floor_of_scores(np.float32([0.0, -1e9]), BELOW_SUMMANDS) == ADDED_MASK
    assert least_that_counts(np.float32([0.0, -np.inf]), BELOW_SCORES) == ADDED_MASK


def test_scores_keep_their_values_and_masks_do_not():
    scores = tf.constant([2.0, -1.0, -1e9])
    assert without_masks(scores, BELOW_SCORES).numpy().tolist() == [2.0, -1.0, -9.0]
