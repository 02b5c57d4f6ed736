import keras
import numpy as np
import pytest

from tfcompress.pruning.criteria import L1, L2, Movement, Random, Taylor, as_criterion

WEIGHTS = np.array([[-3.0, 1.0], [2.0, 0.0]], dtype="float32")


def test_magnitudes():
    np.testing.assert_array_equal(L1().scores(WEIGHTS, 0), [[3, 1], [2, 0]])
    np.testing.assert_array_equal(L2().scores(WEIGHTS, 0), [[9, 1], [4, 0]])


def test_gradient_criteria():
    gradient = np.array([[0.5, 0.5], [-1.0, 7.0]], dtype="float32")
    np.testing.assert_array_equal(Taylor().contribution(gradient, WEIGHTS), [[2.25, 0.25], [4, 0]])
    # A step against the gradient makes -3 smaller still: away from zero.
    np.testing.assert_array_equal(Movement().contribution(gradient, WEIGHTS), [[1.5, -0.5], [2, 0]])
    np.testing.assert_array_equal(Taylor().scores(WEIGHTS, 0, accumulated=gradient), gradient)


def test_random_is_the_same_at_each_update_and_differs_between_kernels():
    draw = Random(seed=7).scores(WEIGHTS, 0)
    np.testing.assert_array_equal(draw, Random(seed=7).scores(2 * WEIGHTS, 0))
    assert (draw != Random(seed=7).scores(WEIGHTS, 1)).all()
    assert (draw != Random(seed=8).scores(WEIGHTS, 0)).all()


@pytest.mark.parametrize("criterion", [L1(), L2(), Taylor(), Movement(), Random(3)])
def test_survives_serialisation(criterion):
    config = keras.saving.serialize_keras_object(criterion)
    assert keras.saving.deserialize_keras_object(config) == criterion


def test_names_stand_for_criteria():
    assert as_criterion("taylor") == Taylor()
    assert as_criterion(L2()) == L2()
    with pytest.raises(ValueError, match=r"'l1', 'l2', 'taylor'.*criterion='hessian'"):
        as_criterion("hessian")
    with pytest.raises(TypeError, match="criterion=1"):
        as_criterion(1)
