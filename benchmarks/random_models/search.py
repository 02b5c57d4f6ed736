"""Random models by their number, and the smallest one that fails as one of them does.

python benchmarks/random_models/search.py 17       # what fails for number 17, and where it ends
"""

import dataclasses
import json
import os
import pathlib
import sys
import time

if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    root = pathlib.Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(root), str(root / "benchmarks")]

import contextlib

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider

from random_models.checks import Failure, check
from random_models.programs import MORE_INPUTS, MORE_KINDS, Program, programs

# From here on there are more kinds of steps and inputs; what was numbered before stays what it was.
FIRST_OF_MORE = 300
LONGEST = 30


class Numbered(HypothesisProvider):
    """Draws by the seed alone: Hypothesis mixes in constants of whatever modules are loaded."""

    def _maybe_draw_constant(self, choice_type, constraints, *, p=0.0):
        return None


AVAILABLE_PROVIDERS["numbered"] = f"{__name__}.{Numbered.__name__}"


def _settings(*phases):
    # A seed's first example is always the simplest one, the second is random.
    return hypothesis.settings(
        max_examples=2,
        backend="numbered",
        phases=phases,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


def _strategy(number, longest):
    """Return the strategy of the programs that a number is drawn from."""
    if number < FIRST_OF_MORE:
        return programs(longest)
    return programs(longest, MORE_KINDS, tuple(MORE_INPUTS))


def program_of_number(number: int, longest: int = LONGEST) -> Program:
    """Return the random model of a number, always the same.

    Args:
        number: any integer from 0.
        longest: the most steps.
    """
    drawn = []

    @hypothesis.seed(number)
    @_settings(Phase.generate)
    @hypothesis.given(_strategy(number, longest))
    def draw(program):
        drawn.append(program)

    draw()
    return drawn[-1]


def smallest(number: int, failure: Failure, seconds: float = 300) -> Program:
    """Shrink a random model for as long as it fails in the same way.

    Args:
        number: the model's.
        failure: what fails.
        seconds: when to be content with what is found.

    Returns:
        The smallest program that was found.
    """
    end, known, failing = time.monotonic() + seconds, {}, [program_of_number(number)]
    known[failing[0]] = True

    @hypothesis.seed(number)
    @_settings(Phase.generate, Phase.shrink)
    @hypothesis.given(_strategy(number, LONGEST))
    def fails_otherwise(program):
        if program not in known and time.monotonic() < end:
            found, _ = check(program, (failure.check,))
            known[program] = any(each.kind == failure.kind for each in found)
        if known.get(program):
            failing.append(program)
            raise AssertionError(failure.kind)

    with contextlib.suppress(AssertionError):
        fails_otherwise()
    return failing[-1]


def trial(number: int) -> dict:
    """Check the model of a number; return its row: figures, refusals, and failures that shrank."""
    program = program_of_number(number)
    failures, figures = check(program)
    return {
        "figures": figures,
        "failures": [
            dataclasses.asdict(each) | {"program": dataclasses.asdict(smallest(number, each))}
            for each in failures
        ],
    }


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(json.dumps(trial(int(argument)), indent=1))
