"""Before the first training: what each kernel tolerates, in a part of the time that is given."""

import dataclasses
import json
import math
import pathlib
import time

import keras

from tfcompress.atomic_files import write_atomically
from tfcompress.data import first_examples, flattened
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.search.sensitivity import Sensitivity, sensitivity
from tfcompress.search.space import Space

_SPARSITIES = (0.5, 0.75, 0.9)
_BITS = (8, 4)
_FEWEST, _MANY = 8, 64  # examples of a measurement
_SHARE = 0.1  # of the time that is left, for sensitivities
# A step of training costs about so many forward passes: forward and backward with ranges.
_PASSES = 4


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long a model takes for a forward pass.

    Attributes:
        call: seconds of a call, whatever the examples.
        example: seconds of an example.
    """

    call: float
    example: float

    def epoch(self, examples: int) -> float:
        """Estimate the least that an epoch of training takes."""
        return _PASSES * self.example * examples


def measure_pace(model: keras.Model, inputs) -> Pace:
    """Time forward passes on few and on many inputs, each after one that is traced."""
    count = min(len(next(flattened(inputs))), _MANY)
    few = min(_FEWEST, count)
    seconds = []
    for size in (few, few, count, count):
        start = time.monotonic()
        model.predict_on_batch(first_examples(inputs, size))
        seconds.append(time.monotonic() - start)
    _, short, _, long = seconds
    example = max(long - short, 0.0) / (count - few) if count > few else short / few
    return Pace(max(short - few * example, 0.0), example)


def affordable_examples(pace: Pace, measurements: int, seconds: float, most: int) -> int:
    """Return on how many examples so many measurements fit into a time.

    Args:
        pace: of the model.
        measurements: how many.
        seconds: the time.
        most: how many examples there are.

    Returns:
        8 at least, ``most`` at most.

    Example:
    >>> affordable_examples(Pace(call=0.1, example=0.01), 100, 60.0, 256)
    50
    """
    each = seconds / measurements - pace.call
    fitting = math.floor(each / pace.example) if pace.example > 0 else most
    return min(max(fitting, _FEWEST), most)


def measure_sensitivity(
    model: keras.Model, inputs, space: Space, pace: Pace, left: float, directory: pathlib.Path
) -> Sensitivity:
    """Measure what each kernel tolerates, or go on from what was measured.

    Args:
        model: the model as it was given.
        inputs: some inputs; on fewer of them where the time is short.
        space: the candidates; what their techniques do not ask for is not measured.
        pace: of the model.
        left: seconds that are left of the search; a tenth of them is used.
        directory: the search's.

    Returns:
        The table; empty where no technique asks for one.
    """
    sparsities = _SPARSITIES if "sparsity" in space.techniques else ()
    bits = _BITS if "precision" in space.techniques else ()
    measurements = len(find_kernels(model)) * (len(sparsities) + len(bits))
    if not measurements:
        return Sensitivity(())
    note = directory / "sensitivity.json"
    if not note.exists():
        most = len(next(flattened(inputs)))
        chosen = affordable_examples(pace, measurements, _SHARE * left, most)
        write_atomically(note, json.dumps({"examples": chosen}).encode())
    examples = json.loads(note.read_text(encoding="utf-8"))["examples"]
    return sensitivity(
        model,
        first_examples(inputs, examples),
        sparsities=sparsities,
        bits=bits,
        file=directory / "sensitivity.jsonl",
        progress=False,
    )
