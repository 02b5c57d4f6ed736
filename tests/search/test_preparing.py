"""The time before the first training: a file first, then what training needs, within the budget."""

import importlib
import json

import numpy as np
import pytest
from made_trials import failed, made
from small_search import blobs, make_model, search, trained_model

from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.search import preparing
from tfcompress.search.budget import Budget
from tfcompress.search.choosing import reason
from tfcompress.search.preparing import (
    Pace,
    affordable_examples,
    measure_pace,
    measure_sensitivity,
)
from tfcompress.search.sensitivity import Sensitivity
from tfcompress.search.space import Candidate, Space
from tfcompress.search.teaching import observed_inputs, spread

compressing = importlib.import_module("tfcompress.search.compress")  # hidden by the function


def test_examples_that_fit_the_time():
    pace = Pace(call=0.1, example=0.01)
    assert affordable_examples(pace, 100, 60.0, 256) == 50
    assert affordable_examples(pace, 100, 1.0, 256) == 8
    assert affordable_examples(pace, 100, 1e6, 256) == 256
    assert affordable_examples(Pace(0.1, 0.0), 100, 60.0, 256) == 256
    assert pace.epoch(1000) == pytest.approx(4 * 10.0)


def test_the_pace_of_a_model_is_what_predict_takes(monkeypatch):
    # Traced, 8 in 0.5 s; traced, 64 in 1.06 s.
    clock = iter([0.0, 9.0, 10.0, 10.5, 20.0, 29.0, 30.0, 31.06])
    monkeypatch.setattr(preparing.time, "monotonic", lambda: next(clock))
    pace = measure_pace(make_model(), blobs(200)[0])
    assert pace.example == pytest.approx(0.01)
    assert pace.call == pytest.approx(0.42)


def test_sensitivities_take_a_tenth_of_the_time_and_what_was_begun_goes_on(tmp_path, monkeypatch):
    asked = []

    def seen(model, inputs, **settings):
        asked.append((len(inputs), settings["sparsities"], settings["bits"]))
        return Sensitivity(())

    monkeypatch.setattr(preparing, "sensitivity", seen)
    model, inputs, pace = make_model(), blobs(64)[0], Pace(call=0.01, example=0.002)
    measurements = 5 * len(find_kernels(model))
    left = 10 * measurements * (0.01 + 20.5 * 0.002)
    both = Space(("channels", "sparsity", "precision"))
    measure_sensitivity(model, inputs, both, pace, left, tmp_path)
    measure_sensitivity(model, inputs, Space(("sparsity",)), pace, 10 * left, tmp_path)
    assert asked == [(20, (0.5, 0.75, 0.9), (8, 4)), (20, (0.5, 0.75, 0.9), ())]
    assert json.loads((tmp_path / "sensitivity.json").read_text()) == {"examples": 20}
    nothing = measure_sensitivity(model, inputs, Space(("channels",)), pace, left, tmp_path)
    assert nothing.effects == ()
    assert len(asked) == 2


def test_the_first_file_stands_before_anything_that_takes_long(tmp_path, monkeypatch):
    def late(*args):
        assert (tmp_path / "best.tflite").exists()
        raise ZeroDivisionError

    monkeypatch.setattr(compressing, "make_lessons", late)
    with pytest.raises(ZeroDivisionError):
        search(trained_model(), tmp_path)


def test_what_no_training_fits_into_ends_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compressing, "measure_pace", lambda *args: Pace(0.0, 1.0))
    monkeypatch.setattr(compressing, "make_lessons", lambda *args: pytest.fail("too late"))
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
    assert len(np.unique(observed_inputs((x, y)) // 100)) == 10
    inputs, labels = spread(([x], y), 20)
    assert np.bincount(labels).tolist() == [2] * 10
    np.testing.assert_array_equal(inputs[0][:, 0] // 100, labels)
