import pytest
from made_trials import failed, made

from tfcompress.search.space import Candidate
from tfcompress.search.timing import Plan, choose_epochs


def plan(left, epochs=30, epoch=3.0, overhead=15.0):
    return Plan(end=100.0 + left, epochs=epochs, epoch=epoch, overhead=overhead, now=lambda: 100.0)


def test_epochs_so_that_about_seven_trials_fit():
    assert choose_epochs(time_budget=910, epoch=3.0, overhead=10.0) == 40
    assert choose_epochs(time_budget=9000, epoch=3.0, overhead=10.0) == 60
    assert choose_epochs(time_budget=900, epoch=15.0, overhead=45.0) == 12  # four trials
    assert choose_epochs(time_budget=20, epoch=3.0, overhead=10.0) == 1


def test_a_trial_is_cut_to_what_is_left():
    assert plan(left=1000).affordable(Candidate(), []) == 30
    assert plan(left=60).affordable(Candidate(), []) == 11
    assert plan(left=10).affordable(Candidate(), []) == 0
    assert plan(left=60).training_end([]) == 135.0


def test_less_than_a_third_of_a_trial_does_not_begin():
    assert plan(left=25 + 30).worth_starting(Candidate(), [])
    assert not plan(left=25 + 29).worth_starting(Candidate(), [])


def test_finished_trials_tell_better():
    trials = [
        made(0, 0.9, 50, seconds=50.0, training_seconds=40.0),  # 4 s an epoch, 10 s beside
        made(1, 0.9, 50, seconds=28.0, training_seconds=20.0, asked={"channels": 0.5}),
        made(2, 0.9, 50, seconds=22.0, training_seconds=0.0, epochs=0, asked={"trained": False}),
        failed(3, channels=0.5),
    ]
    assert plan(0).seconds_of_epoch(Candidate(), trials) == pytest.approx(4.0)
    assert plan(0).seconds_of_epoch(Candidate(channels=0.625), trials) == pytest.approx(2.0)
    assert plan(0).seconds_beside_training(trials) == pytest.approx(22.0)


def test_until_one_has_trained_the_estimate_counts():
    untrained = made(0, 0.9, 50, seconds=5.0, training_seconds=0.0, asked={"trained": False})
    assert plan(0, overhead=60.0).seconds_beside_training([untrained]) == 60.0
    trained = made(1, 0.9, 50, seconds=28.0, training_seconds=20.0)
    assert plan(0, overhead=60.0).seconds_beside_training([untrained, trained]) == 8.0
