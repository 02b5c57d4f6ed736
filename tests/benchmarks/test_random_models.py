"""A few random models through every technique; `make soak` takes thousands."""

import dataclasses
import json

import numpy as np
import pytest

LONGEST = 8


@pytest.mark.parametrize("number", [*range(30), *range(300, 310)])
def test_every_technique_takes_a_random_model_or_says_which_kernel_is_missing(number):
    from random_models.checks import check
    from random_models.search import program_of_number

    failures, _ = check(program_of_number(number, LONGEST))
    assert failures == []


def test_a_number_is_always_the_same_model():
    from random_models.programs import build, program_of
    from random_models.search import program_of_number

    first, again, other = (program_of_number(number) for number in (3, 3, 4))
    assert first == again != other
    assert program_of(json.loads(json.dumps(dataclasses.asdict(first)))) == first
    one, two = build(first), build(first)
    assert [each.name for each in one.layers] == [each.name for each in two.layers]
    for left, right in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_steps_that_fit_nothing_are_left_out():
    from random_models.programs import LAYER, MODEL, Program, Step, build

    program = Program(
        ("vector",),
        (Step("Conv2D"), Step("Dense"), Step(MODEL, inner=(Step("tile"),)), Step(LAYER)),
    )
    kinds = [type(each).__name__ for each in build(program).operations]
    assert kinds == ["InputLayer", "Dense", "Functional", "Steps"]


def test_what_fails_is_shrunk(monkeypatch):
    from random_models import search
    from random_models.checks import Failure

    def check(program, names):
        assert names == ("found",)
        dense = sum(step.kind == "Dense" for step in program.steps)
        return ([Failure("found", f"WrongError: {dense} of it")] if dense else []), {}

    monkeypatch.setattr(search, "check", check)
    numbers = range(100)
    number = next(n for n in numbers if check(search.program_of_number(n), ("found",))[0])
    (failure,), _ = check(search.program_of_number(number), ("found",))
    assert failure.kind == "found: WrongError: of it"
    program = search.smallest(number, failure, seconds=60)
    assert [step.kind for step in program.steps] == ["Dense"] * 3  # the fewest, and the simplest
    assert {step.settings for step in program.steps} == {(0, 0, 0, 0)}
