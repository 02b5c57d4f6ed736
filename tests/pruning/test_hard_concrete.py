import numpy as np
import pytest

from tfcompress.pruning import hard_concrete


def test_gates_without_noise():
    # sigmoid(ln 3) = 3/4; 3/4 * 1.2 - 0.1 = 0.8.
    found = hard_concrete.without_noise(np.float32([-2.5, 0.0, np.log(3.0), 2.5]))
    np.testing.assert_allclose(found, [0.0, 0.5, 0.8, 1.0], rtol=1e-6)


def test_noise_in_the_middle_is_no_noise_but_for_the_temperature():
    # sigmoid(ln 3 / (2 / 3)) = 3^1.5 / (1 + 3^1.5).
    found = hard_concrete.sampled(np.float32([np.log(3.0)]), np.float32([0.5]))
    np.testing.assert_allclose(found, 3**1.5 / (1 + 3**1.5) * 1.2 - 0.1, rtol=1e-6)


@pytest.mark.parametrize("logit", [-2.0, 0.0, 1.0])
def test_the_probability_is_the_share_of_open_gates(logit):
    noise = np.random.default_rng(0).uniform(1e-6, 1 - 1e-6, 100_000).astype("float32")
    gates = np.asarray(hard_concrete.sampled(np.full_like(noise, logit), noise))
    probability = float(hard_concrete.open_probability(np.float32(logit)))
    assert np.mean(gates != 0) == pytest.approx(probability, abs=0.005)
    assert gates.min() == 0.0
    assert gates.max() == 1.0


def test_settled_gates_are_closed_where_they_are_meant_to_be_only():
    logits = np.array([-2.5, -2.5, 0.0, 2.5])
    found = hard_concrete.final_gates(logits, np.array([True, False, False, False]))
    np.testing.assert_allclose(found, [0.0, 0.01, 0.5, 1.0])
