import numpy as np
import tensorflow as tf


def test_a_seed_is_set_again_where_something_was_drawn():
    drawn = []
    for seed in (0, 0, 1):
        tf.random.set_seed(seed)
        drawn.append([tf.random.uniform((3,)).numpy() for _ in range(2)])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[1][0] != drawn[2][0]).all()
    assert (drawn[0][0] != drawn[0][1]).all()
