import dataclasses

import pytest
from made_trials import failed, made

from tfcompress.search.candidates import TECHNIQUES, Candidate, Space
from tfcompress.search.results import Budget
from tfcompress.search.strategy import candidate_schedule, next_neighbor, next_scheduled, warm_start

SPACE = Space(("channels", "sparsity"))
SCHEDULE = candidate_schedule(SPACE)


def climb(hardest):
    """Climb the schedule of a model that holds up to a level; return the places tried."""
    holds, tried = {}, []
    while (level := next_scheduled(SCHEDULE, holds)) is not None:
        tried.append(SCHEDULE.index(level))
        holds[level] = tried[-1] <= hardest
    return tried


@pytest.mark.parametrize("hardest", range(len(SCHEDULE)))
def test_halving_finds_the_hardest_rung_that_holds(hardest):
    tried = climb(hardest)
    assert tried[0] == 0
    assert max(place for place in tried if place <= hardest) == hardest
    assert len(tried) <= 5


def test_the_schedule_goes_from_weak_to_strong():
    assert SCHEDULE[0] == Candidate(trained=False)
    gains = [level.estimated_gain() for level in SCHEDULE]
    assert gains == sorted(gains)
    assert candidate_schedule(Space(("sparsity",)))[-1] == Candidate(sparsity=0.9)
    assert candidate_schedule(Space(())) == (Candidate(trained=False), Candidate())


def test_workers_take_different_rungs():
    first = next_scheduled(SCHEDULE, {SCHEDULE[0]: True})
    second = next_scheduled(SCHEDULE, {SCHEDULE[0]: True}, running=[first])
    assert abs(SCHEDULE.index(first) - SCHEDULE.index(second)) == 1
    assert next_scheduled(SCHEDULE, {}, running=[SCHEDULE[0]]) == first


def test_gains_by_hand():
    # Half of the channels: a quarter of the weights, and 2^1.5 times less time.
    assert Candidate(channels=0.5).estimated_gain() == pytest.approx(0.6931 * 3.5, abs=1e-3)
    # Half zeros: one bit for which, and 7 bits for every other weight.
    expected = 7 / (1 + 3.5)
    assert Candidate(sparsity=0.5).estimated_gain() == pytest.approx(0.4418, abs=1e-3)
    assert expected == pytest.approx(2.718281828**0.4418, abs=1e-2)
    assert Candidate(clusters=16).estimated_gain() == pytest.approx(0.5596, abs=1e-3)


def test_from_what_holds_the_way_leads_to_the_gentlest_harder_one():
    start = Candidate(channels=0.25, sparsity=0.5)
    step = next_neighbor(SPACE, [made(0, 0.9, 50, candidate=start)], Budget())
    assert step == dataclasses.replace(start, sparsity=0.6)


def test_from_what_lost_too_much_the_way_leads_to_the_hardest_gentler_one():
    lossy = made(0, 0.8, 20, asked={"channels": 0.25, "sparsity": 0.6})
    step = next_neighbor(SPACE, [lossy], Budget())
    assert step == Candidate(channels=0.25, sparsity=0.5)


def test_what_goes_further_than_a_candidate_that_lost_too_much_is_left_out():
    holds = made(0, 0.9, 50, asked={"channels": 0.25, "sparsity": 0.5})
    lossy = made(1, 0.8, 40, asked={"channels": 0.25, "sparsity": 0.6})
    step = next_neighbor(SPACE, [holds, lossy], Budget())
    assert step.channels > 0.25
    assert step.sparsity < 0.6


def test_too_large_and_too_lossy_trades_one_technique_for_another():
    both = made(0, 0.8, 50, asked={"channels": 0.25, "sparsity": 0.6})
    step = next_neighbor(SPACE, [both], Budget(max_size=40))
    assert (step.channels - 0.25) * (step.sparsity - 0.6) < 0


def test_what_was_tried_or_is_under_way_is_not_proposed_again():
    tried = [made(0, 0.9, 50, asked={"sparsity": 0.5}), failed(1, sparsity=0.6)]
    under_way = [Candidate(channels=0.125, sparsity=0.5)]
    step = next_neighbor(SPACE, tried, Budget(), under_way)
    assert step not in [*under_way, *(trial.candidate for trial in tried)]
    only_sparsity = Space(("sparsity",))
    # 60 % failed, for other reasons than accuracy; then steps of a single level are left.
    assert next_neighbor(only_sparsity, tried, Budget()) == Candidate(sparsity=0.55)
    tried.append(made(2, 0.8, 45, asked={"sparsity": 0.55}))
    assert next_neighbor(only_sparsity, tried, Budget()) is None
    assert next_neighbor(SPACE, [], Budget()) is None


def test_a_candidate_goes_on_from_the_hardest_trial_before_it_that_holds():
    trials = [
        made(0, 0.9, 99, asked={"trained": False}),
        made(1, 0.9, 60, asked={"sparsity": 0.5}),
        made(2, 0.9, 50, asked={"channels": 0.25, "sparsity": 0.5}),
        made(3, 0.8, 40, asked={"channels": 0.375, "sparsity": 0.5}),  # lost too much
        failed(4, channels=0.3125, sparsity=0.5),
    ]
    budget = Budget(max_size=10)  # none of them is small enough, which does not matter here
    assert warm_start(Candidate(channels=0.5, sparsity=0.7), trials, budget) is trials[2]
    assert warm_start(Candidate(channels=0.125, sparsity=0.7), trials, budget) is trials[1]
    assert warm_start(Candidate(channels=0.5, sparsity=0.3), trials, budget) is None


def test_levels_and_names():
    assert SPACE.moved(Candidate(channels=0.75), "channels", 1) is None
    assert SPACE.moved(Candidate(), "precision", 1) is None  # not in the space
    assert Candidate(clusters=32).within(Candidate(clusters=16, sparsity=0.3))
    assert not Candidate(clusters=16).within(Candidate(clusters=32))
    text = Candidate(0.25, 0.5, 0.8, 16).to_text()
    assert text == (
        "25% fewer channels, 50% zeros, 4 bits down to 80% of the bytes, 16 values a kernel, int8"
    )
    with pytest.raises(ValueError, match="'pruning'"):
        Space(("pruning",))
    assert set(TECHNIQUES) == {field.name for field in dataclasses.fields(Candidate)} - {"trained"}
