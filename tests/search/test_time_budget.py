"""The time before the first training, and the epochs of trials, within the budget."""

import importlib
import json

import numpy as np
import pytest
from made_trials import failed, made
from small_search import blobs, make_model, search, trained_model

from tfcompress.data import evenly_spaced
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.search import time_budget
from tfcompress.search.candidates import Candidate, Space
from tfcompress.search.results import Budget
from tfcompress.search.sensitivity import Sensitivity
from tfcompress.search.strategy import reason
from tfcompress.search.time_budget import (
    ForwardTime,
    Plan,
    affordable_examples,
    choose_epochs,
    measure_forward_time,
    measure_sensitivity,
)
from tfcompress.search.training_data import sample_inputs

compressing = importlib.import_module("tfcompress.search.compress")  # hidden by the function


def test_examples_that_fit_the_time():
    forward = ForwardTime(call=0.1, example=0.01)
    assert affordable_examples(forward, 100, 60.0, 256) == 50
    assert affordable_examples(forward, 100, 1.0, 256) == 8
    assert affordable_examples(forward, 100, 1e6, 256) == 256
    assert affordable_examples(ForwardTime(0.1, 0.0), 100, 60.0, 256) == 256
    assert forward.epoch(1000) == pytest.approx(4 * 10.0)


def test_the_pace_of_a_model_is_what_predict_takes(monkeypatch):
    # Traced, 8 in 0.5 s; traced, 64 in 1.06 s.
    clock = iter([0.0, 9.0, 10.0, 10.5, 20.0, 29.0, 30.0, 31.06])
    monkeypatch.setattr(time_budget.time, "monotonic", lambda: next(clock))
    forward = measure_forward_time(make_model(), blobs(200)[0])
    assert forward.example == pytest.approx(0.01)
    assert forward.call == pytest.approx(0.42)


def test_sensitivities_take_a_tenth_of_the_time_and_what_was_begun_goes_on(tmp_path, monkeypatch):
    asked = []

    def seen(model, inputs, **settings):
        asked.append((len(inputs), settings["sparsities"], settings["bits"]))
        return Sensitivity(())

    monkeypatch.setattr(time_budget, "sensitivity", seen)
    model, inputs, forward = make_model(), blobs(64)[0], ForwardTime(call=0.01, example=0.002)
    measurements = 5 * len(find_kernels(model))
    left = 10 * measurements * (0.01 + 20.5 * 0.002)
    both = Space(("channels", "sparsity", "precision"))
    measure_sensitivity(model, inputs, both, forward, left, tmp_path)
    measure_sensitivity(model, inputs, Space(("sparsity",)), forward, 10 * left, tmp_path)
    assert asked == [(20, (0.5, 0.75, 0.9), (8, 4)), (20, (0.5, 0.75, 0.9), ())]
    assert json.loads((tmp_path / "sensitivity.json").read_text()) == {"examples": 20}
    nothing = measure_sensitivity(model, inputs, Space(("channels",)), forward, left, tmp_path)
    assert nothing.effects == ()
    assert len(asked) == 2


def test_the_first_file_stands_before_anything_that_takes_long(tmp_path, monkeypatch):
    def late(*args):
        assert (tmp_path / "best.tflite").exists()
        raise ZeroDivisionError

    monkeypatch.setattr(compressing, "prepare_training_data", late)
    with pytest.raises(ZeroDivisionError):
        search(trained_model(), tmp_path)


def test_what_no_training_fits_into_ends_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compressing, "measure_forward_time", lambda *args: ForwardTime(0.0, 1.0))
    monkeypatch.setattr(compressing, "prepare_training_data", lambda *args: pytest.fail("too late"))
    result = search(trained_model(), tmp_path, progress=True)
    assert [trial.candidate.trained for trial in result.trials] == [False]
    said = capsys.readouterr().out
    assert said.startswith("the float file: ")
    assert "trial 0 begins: int8, not trained; a first file, within seconds\n" in said
    assert "one epoch of training needs" in said
    with pytest.raises(ValueError, match=r"\d{4} s are needed at least"):
        search(trained_model(), tmp_path, max_latency=1e-9)


BUDGET = Budget(max_accuracy_drop=0.02, max_size=100)


@pytest.mark.parametrize(
    ("trials", "asked", "why"),
    [
        ([], {"trained": False}, "a first file, within seconds"),
        ([failed(0)], {"sparsity": 0.5}, "a first file, within seconds"),
        (
            [made(0, 0.9, 90, asked={"trained": False})],
            {"sparsity": 0.5},
            "goes further than trial 0, which holds",
        ),
        (
            [made(0, 0.9, 120, asked={"trained": False})],
            {"sparsity": 0.5},
            "goes further than trial 0, which is too large",
        ),
        (
            [
                made(0, 0.9, 90, asked={"trained": False}),
                made(1, 0.9, 80, asked={"sparsity": 0.5}),
                made(2, 0.5, 60, asked={"sparsity": 0.9}),
            ],
            {"sparsity": 0.7},
            "goes further than trial 1, which holds, gentler than trial 2, which lost too much "
            "accuracy",
        ),
        ([made(0, 0.5, 90, asked={"trained": False})], {}, "training may win back what trial 0"),
    ],
)
def test_why_a_candidate_comes_next(trials, asked, why):
    assert why in reason(BUDGET, trials, Candidate(**asked))


def test_examples_are_spread_over_data_in_the_order_of_its_classes():
    x, y = np.arange(1000.0)[:, None], np.repeat(np.arange(10), 100)
    assert len(np.unique(sample_inputs((x, y)) // 100)) == 10
    inputs, labels = evenly_spaced(([x], y), 20)
    assert np.bincount(labels).tolist() == [2] * 10
    np.testing.assert_array_equal(inputs[0][:, 0] // 100, labels)


def plan(left, epochs=30, longest=60, epoch=3.0, overhead=15.0):
    return Plan(100.0 + left, epochs, longest, epoch, overhead, now=lambda: 100.0)


def test_epochs_so_that_about_seven_trials_fit():
    assert choose_epochs(time_budget=910, epoch=3.0, overhead=10.0) == 40
    assert choose_epochs(time_budget=9000, epoch=3.0, overhead=10.0) == 60
    assert choose_epochs(time_budget=900, epoch=15.0, overhead=45.0) == 12  # four trials
    assert choose_epochs(time_budget=20, epoch=3.0, overhead=10.0) == 1


UNTRAINED = made(0, 0.9, 50, seconds=5.0, training_seconds=0.0, epochs=0, asked={"trained": False})


def test_a_trial_is_cut_to_what_is_left():
    assert plan(left=1000).affordable(Candidate(), [UNTRAINED]) == 30
    assert plan(left=53).affordable(Candidate(), [UNTRAINED]) == 11
    assert plan(left=10).affordable(Candidate(), [UNTRAINED]) == 0
    assert plan(left=53).training_end([UNTRAINED]) == 135.0


def test_the_last_trial_gets_what_is_left():
    # Beside an epoch of 3 s: 15 s of each trial, 3 s in the end; 10 epochs make another trial.
    two = 15 + 30 * 3 + 15 + 10 * 3 + 3
    assert plan(left=two).affordable(Candidate(), [UNTRAINED]) == 30
    assert plan(left=two - 1).affordable(Candidate(), [UNTRAINED]) == 44
    assert plan(left=two - 1, longest=40).affordable(Candidate(), [UNTRAINED]) == 40
    assert plan(left=two - 1, longest=30).affordable(Candidate(), [UNTRAINED]) == 30


def test_less_than_a_third_of_a_trial_does_not_begin():
    assert plan(left=18 + 30).worth_starting(Candidate(), [UNTRAINED])
    assert not plan(left=18 + 29).worth_starting(Candidate(), [UNTRAINED])


def test_finished_trials_tell_better():
    trials = [
        made(0, 0.9, 50, seconds=50.0, training_seconds=40.0),  # 4 s an epoch, 10 s beside
        made(1, 0.9, 50, seconds=28.0, training_seconds=20.0, asked={"channels": 0.5}),
        made(2, 0.9, 50, seconds=22.0, training_seconds=0.0, epochs=0, asked={"trained": False}),
        failed(3, channels=0.5),
    ]
    assert plan(0).seconds_of_epoch(Candidate(), trials) == pytest.approx(4.0)
    assert plan(0).seconds_of_epoch(Candidate(channels=0.625), trials) == pytest.approx(2.0)
    slower = made(4, 0.9, 50, seconds=90.0, training_seconds=60.0)
    assert plan(0).seconds_of_epoch(Candidate(), [*trials, slower]) == pytest.approx(5.0)
    assert plan(0).seconds_beside_training(trials) == pytest.approx(22.0)


def test_until_one_has_trained_the_estimate_counts():
    assert plan(0, overhead=60.0).seconds_beside_training([UNTRAINED]) == 60.0
    trained = made(1, 0.9, 50, seconds=28.0, training_seconds=20.0)
    assert plan(0, overhead=60.0).seconds_beside_training([UNTRAINED, trained]) == 8.0
