import dataclasses
import json
import math
import pathlib

import pytest
from made_trials import REFERENCE, failed, made

from tfcompress.search.candidates import Candidate
from tfcompress.search.results import (
    Budget,
    SearchResult,
    Trial,
    best,
    nearest,
    pareto_front,
    read_result,
)


def test_shortfalls_are_in_the_units_of_the_limits():
    budget = Budget(max_accuracy_drop=0.01, max_size=90, max_latency=0.0015)
    missed = budget.shortfalls(made(0, 0.87, 100, latency=0.002))
    assert missed == pytest.approx({"accuracy_drop": 0.02, "size": 10, "latency": 0.0005})
    assert budget.shortfalls(made(0, 0.89, 90, latency=0.0015)) == {}
    assert budget.shortfalls(made(0, 0.9, 90, 0.001, runs_on_target=False)) == {"runs_on_target": 1}
    assert budget.shortfalls(failed(0)) == {"failed": 1}


def test_a_point_weighs_as_much_as_a_twentieth_of_the_size():
    budget = Budget(max_accuracy_drop=0.0, max_size=100)
    assert budget.distance(made(0, 0.88, 100)) == pytest.approx(2.0)
    assert budget.distance(made(0, 0.9, 110)) == pytest.approx(2.0)
    assert budget.distance(made(0, 0.9, 100)) == 0.0
    assert budget.distance(made(0, 0.9, 100, runs_on_target=False)) > 1e5


def test_the_front_by_hand():
    accurate, small, fast = made(0, 0.95, 100), made(1, 0.9, 50), made(2, 0.9, 80, latency=0.001)
    dominated, twin = made(3, 0.94, 110), made(4, 0.95, 100)
    assert pareto_front([accurate, small, fast, dominated, failed(5)]) == (accurate, small, fast)
    assert pareto_front([accurate, twin]) == (accurate, twin)  # equals do not beat each other


def test_the_best_has_the_greatest_product_of_ratio_and_speed_up():
    a, b = made(0, 0.9, 50, latency=0.002), made(1, 0.9, 80, latency=0.001)  # 4 x 2, 2.5 x 4
    lossy = made(2, 0.5, 10)
    assert a.gain == pytest.approx(math.log(8))
    assert best([a, b, lossy], Budget()) is b
    assert best([lossy, failed(3)], Budget()) is None


def test_the_nearest_of_what_misses():
    budget = Budget(max_accuracy_drop=0.01)
    trials = [failed(0), made(1, 0.80, 20), made(2, 0.88, 100)]
    assert nearest(trials, budget) is trials[2]
    assert nearest([failed(0)], budget) is None


def test_trials_survive_json():
    for trial in (made(3, 0.9, 50, asked={"channels": 0.25, "clusters": 16}), failed(4)):
        content = json.loads(json.dumps(trial.to_json()))
        assert Trial.from_json(content) == trial
    assert content["state"] == "failed"
    assert content["file"] is None


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_accuracy_drop": -0.01}, "Received: max_accuracy_drop=-0.01"),
        ({"max_accuracy_drop": 1}, "share of the examples"),
        ({"max_size": 0}, "positive number of bytes"),
        ({"max_latency": -1}, "positive number of seconds"),
    ],
)
def test_limits_out_of_range(limits, message):
    with pytest.raises(ValueError, match=message):
        Budget(**limits)


def test_a_size_below_any_possible():
    with pytest.raises(ValueError, match="take 20 bytes after gzip"):
        Budget(max_size=20).require_possible(REFERENCE)
    Budget(max_size=21).require_possible(REFERENCE)


RESULT = SearchResult(
    directory=pathlib.Path(),
    name="toy",
    target="raspberry-pi-4",
    budget=Budget(0.01),
    time_budget=900,
    reference=REFERENCE,
    trials=(failed(0), made(5, 0.925, 20, asked={"channels": 0.25, "sparsity": 0.5})),
    environment={"python": "3.11"},
)


def test_a_result_is_read_from_its_file_or_its_folder(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(RESULT.to_json()))
    result = read_result(tmp_path)
    assert read_result(tmp_path / "result.json") == result
    assert result == dataclasses.replace(RESULT, directory=tmp_path)
    assert (result.met, result.nearest.number, result.reference.gzip_size) == (True, 5, 200)
    assert result.trials[1].candidate == Candidate(channels=0.25, sparsity=0.5)
    assert result.trials[1].compression_ratio == 10.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not the result of a search"),
        ("[]", "not the result of a search"),
        ({"format": 2}, "reads format 1. Received: 2"),
        ({"trials": [{"number": 1}]}, "it has no 'candidate'"),
        ({"trials": [{"number": 1, "candidate": {}}]}, "accuracy must be a number. Received: None"),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    if isinstance(content, dict):
        content = json.dumps({**RESULT.to_json(), **content})
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_result(tmp_path)


def test_channels_that_could_not_be_removed_are_not_said_to_be():
    asked = {"channels": 0.25, "sparsity": 0.7}
    assert REFERENCE.tried(made(1, 0.9, 50, asked=asked)) == "25% fewer channels, 70% zeros, int8"
    kept = made(2, 0.9, 50, asked=asked, parameters=REFERENCE.parameters)
    assert REFERENCE.tried(kept) == "70% zeros, int8 (no channel can be removed)"
