import keras
import pytest

from tfcompress.pruning.schedules import (
    ConstantSparsity,
    CosineDecay,
    ExponentialDecay,
    OneCycle,
    PolynomialDecay,
    as_schedule,
)

EVERY_SCHEDULE = [
    ConstantSparsity(0.75, begin_step=20, end_step=120),
    PolynomialDecay(0.1, 0.75, begin_step=20, end_step=120),
    CosineDecay(0.1, 0.75, begin_step=20, end_step=120),
    ExponentialDecay(0.1, 0.75, begin_step=20, end_step=120),
    OneCycle(0.1, 0.9, 0.75, begin_step=20, end_step=120),
]


@pytest.mark.parametrize("schedule", EVERY_SCHEDULE)
def test_ends_exactly_at_the_final_sparsity_and_stays_there(schedule):
    assert schedule(19) == 0.0
    assert schedule(20) == schedule.initial
    assert schedule(120) == schedule(121) == schedule(10**9) == schedule.final == 0.75


@pytest.mark.parametrize("schedule", EVERY_SCHEDULE)
def test_survives_serialisation(schedule):
    config = keras.saving.serialize_keras_object(schedule)
    assert keras.saving.deserialize_keras_object(config) == schedule


def test_polynomial_follows_the_paper():
    schedule = PolynomialDecay(0.0, 0.8, begin_step=0, end_step=100, power=3)
    # 0.8 - 0.8 * (1 - 0.25)^3 = 0.8 * (1 - 0.421875)
    assert schedule(25) == pytest.approx(0.4625, abs=1e-12)
    assert PolynomialDecay(0.2, 0.8, 0, 100, power=1)(50) == pytest.approx(0.5, abs=1e-12)


def test_cosine_is_slow_at_both_ends():
    schedule = CosineDecay(0.0, 0.8, begin_step=0, end_step=100)
    assert schedule(50) == pytest.approx(0.4, abs=1e-12)
    # (1 - cos(pi / 3)) / 2 = 1 / 4
    assert CosineDecay(0.0, 0.8, 0, 3)(1) == pytest.approx(0.2, abs=1e-12)


def test_exponential_removes_equal_shares_of_what_is_left():
    schedule = ExponentialDecay(0.0, 0.875, begin_step=0, end_step=3)
    assert [1 - schedule(step) for step in range(4)] == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8])


def test_a_sparsity_may_fall():
    schedule = PolynomialDecay(0.75, 0.25, 0, 100, power=1)
    assert (schedule(0), schedule(50), schedule(100)) == (0.75, 0.5, 0.25)
    assert schedule.highest == 0.75


def test_one_cycle_peaks_and_regrows():
    schedule = OneCycle(0.0, 0.9, 0.6, begin_step=0, end_step=100, peak_at=0.5)
    assert schedule(25) == pytest.approx(0.45, abs=1e-12)
    assert schedule(50) == 0.9
    assert schedule(75) == pytest.approx(0.75, abs=1e-12)
    assert schedule(100) == 0.6
    assert schedule.highest == 0.9


def test_updates_fall_on_the_grid_and_on_the_end():
    schedule = PolynomialDecay(0.0, 0.5, begin_step=5, end_step=18, frequency=4)
    assert [schedule.last_update(step) for step in (4, 5, 8, 9, 17, 18, 30)] == [
        None,
        5,
        5,
        9,
        17,
        18,
        18,
    ]


def test_end_of_training_is_filled_in():
    schedule = PolynomialDecay(0.0, 0.5, begin_step=5)
    with pytest.raises(ValueError, match="lasts to the end of the training"):
        schedule(10)
    assert schedule.ending_at(40) == PolynomialDecay(0.0, 0.5, begin_step=5, end_step=40)
    with pytest.raises(ValueError, match=r"before PolynomialDecay begins.*begin_step=5"):
        schedule.ending_at(4)
    assert ConstantSparsity(0.5, begin_step=0)(10**6) == 0.5


@pytest.mark.parametrize("cls", [PolynomialDecay, CosineDecay, ExponentialDecay])
@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, float("nan"), "half", None, True])
def test_refuses_a_sparsity_outside_0_and_1(cls, value):
    with pytest.raises(ValueError, match=rf"`final_sparsity` of {cls.__name__}.*\[0, 1\)"):
        cls(0.0, value, begin_step=0, end_step=10)
    with pytest.raises(ValueError, match="`initial_sparsity`"):
        cls(value, 0.5, begin_step=0, end_step=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"begin_step": -1}, "`begin_step`.*at least 0.*begin_step=-1"),
        ({"begin_step": 1.5}, "`begin_step`.*integer"),
        ({"begin_step": 0, "end_step": -2}, "`end_step`.*end_step=-2"),
        ({"begin_step": 10, "end_step": 9}, "begin_step=10, end_step=9"),
        ({"begin_step": 0, "frequency": 0}, "`frequency`.*at least 1.*frequency=0"),
    ],
)
def test_refuses_impossible_steps(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConstantSparsity(0.5, **arguments)


def test_refuses_a_peak_below_the_target():
    with pytest.raises(ValueError, match=r"peak_sparsity=0\.5, final_sparsity=0\.75"):
        OneCycle(0.0, 0.5, 0.75, begin_step=0)
    with pytest.raises(ValueError, match=r"peak_at=1\.0"):
        OneCycle(0.0, 0.9, 0.75, begin_step=0, peak_at=1.0)
    with pytest.raises(ValueError, match=r"`power`.*power=0"):
        PolynomialDecay(0.0, 0.5, begin_step=0, power=0)


def test_refuses_what_is_no_schedule():
    with pytest.raises(TypeError, match=r"schedule=0\.5 of type float"):
        as_schedule(0.5)
    with pytest.raises(TypeError, match="of type PolynomialDecay"):  # a learning rate
        as_schedule(keras.optimizers.schedules.PolynomialDecay(0.1, 100))
