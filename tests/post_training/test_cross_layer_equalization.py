import numpy as np
import pytest

from tfcompress.post_training.cross_layer_equalization import Channels, Weights, best_scales

LEVELS = 127.0


def weights(values, shared, sensitivity=None):
    values = np.asarray(values, float)
    sensitivity = np.ones(values.shape) if sensitivity is None else sensitivity
    indices = np.broadcast_to(shared, values.shape)
    return Weights(values, np.asarray(sensitivity, float), indices, LEVELS)


def channels(
    made, read, largest=(1.0, 1.0), sensitivity=(0.0, 0.0), free=(True, True), least=(0, 0)
):
    return Channels(
        np.zeros(2),
        np.array(largest, float),
        np.array(sensitivity, float),
        made,
        (read,),
        np.array(free),
        np.array(least, float),
        255.0,
    )


def test_noise_by_hand():
    # One scale for both rows; steps 2/127 throughout; four weights that count once.
    own = weights([[2.0, 1.0], [0.5, 0.25]], 0)
    assert own.noise(np.ones(2)) == pytest.approx(4 * (2 / LEVELS) ** 2 / 12)
    # The second row twice as large: the same step, half as much of it in that row.
    scaled = own.noise(np.array([1.0, 2.0]))
    assert scaled == pytest.approx((2 + 2 / 4) * (2 / LEVELS) ** 2 / 12)


def test_noise_of_channels_by_hand():
    nothing = weights([[1.0], [1.0]], [[0], [1]], [[0.0], [0.0]])
    found = channels(nothing, nothing, largest=(4.0, 1.0), sensitivity=(1.0, 3.0))
    assert found.noise(np.ones(2)) == pytest.approx((4 / 255) ** 2 / 12 * 4)
    assert found.noise(np.array([4.0, 1.0])) == pytest.approx((1 / 255) ** 2 / 12 * (16 + 3))


def test_weights_of_one_scale_meet_at_the_square_root():
    # What Nagel et al. derive: after scaling both layers have the same range in each channel.
    made, read = weights([[8.0], [1.0]], 0), weights([[1.0], [8.0]], 0)
    scales = best_scales(channels(made, read))
    ranges = np.array([8.0, 1.0]) / scales, np.array([1.0, 8.0]) * scales
    assert ranges[0][0] / ranges[0][1] == pytest.approx(1.0)
    assert ranges[1][0] / ranges[1][1] == pytest.approx(1.0)


def test_activations_alone_fill_their_range():
    # Weights with a scale of their own each lose nothing: depthwise layers are like that.
    made = weights([[1.0], [1.0]], [[0], [1]])
    read = weights([[1.0], [1.0]], [[0], [1]])
    scales = best_scales(channels(made, read, largest=(10.0, 0.1), sensitivity=(1.0, 1.0)))
    after = np.array([10.0, 0.1]) / scales
    assert after[0] == pytest.approx(after[1])


def test_the_best_is_never_worse_and_often_better():
    generator = np.random.default_rng(0)
    for _ in range(20):
        made = weights(generator.normal(size=(2, 3)) * [[5.0], [0.2]], 0)
        read = weights(generator.normal(size=(2, 4)), np.arange(4))
        given = channels(made, read, generator.uniform(0.1, 9, 2), generator.uniform(0, 9, 2))
        assert given.noise(best_scales(given)) <= given.noise(np.ones(2))


def test_channels_that_are_not_free_or_idle_stay():
    made, read = weights([[8.0], [1.0]], 0), weights([[1.0], [8.0]], 0)
    assert best_scales(channels(made, read, free=(False, True)))[0] == 1.0
    assert best_scales(channels(made, read, free=(False, False))).tolist() == [1.0, 1.0]
    idle = weights([[8.0], [0.0]], 0)
    assert best_scales(channels(idle, read))[1] == 1.0


def test_a_channel_below_a_cap_is_not_scaled_up_to_it():
    made, read = weights([[8.0], [1.0]], 0), weights([[1.0], [8.0]], 0)
    scales = best_scales(channels(made, read, least=(0.9, 0.9)))
    assert (scales >= 0.9).all()
