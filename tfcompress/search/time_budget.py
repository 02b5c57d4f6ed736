"""How the time budget is spent: before the first training, and how many epochs a trial gets."""

import dataclasses
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence

import keras

from tfcompress.atomic_files import write_atomically
from tfcompress.data import count_examples, first_examples
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.search.candidates import Candidate, Space
from tfcompress.search.results import Trial
from tfcompress.search.sensitivity import Sensitivity, sensitivity

_SPARSITIES = (0.5, 0.75, 0.9)
_BITS = (8, 4)
_FEWEST, _MANY = 8, 64  # examples of a measurement
_SHARE = 0.1  # of the time that is left, for sensitivities
# A step of training costs about so many forward passes: forward and backward with ranges.
_PASSES = 4
# How many trials should fit, whichever the model.
_MANY_TRIALS, _FEW_TRIALS = 7, 4
_ENOUGH_EPOCHS, _MAX_EPOCHS = 20, 60
CLOSING = 3.0  # seconds reserved for what comes after the last trial


@dataclasses.dataclass(frozen=True)
class ForwardTime:
    """Seconds of a forward pass: ``call`` for any, and ``example`` for each example."""

    call: float
    example: float

    def epoch(self, examples: int) -> float:
        """Estimate the least that an epoch of training takes."""
        return _PASSES * self.example * examples


def measure_forward_time(model: keras.Model, inputs) -> ForwardTime:
    """Time forward passes on few and on many inputs, each after one that is traced."""
    count = min(count_examples(inputs), _MANY)
    few = min(_FEWEST, count)
    seconds = []
    for size in (few, few, count, count):
        start = time.monotonic()
        model.predict_on_batch(first_examples(inputs, size))
        seconds.append(time.monotonic() - start)
    _, short, _, long = seconds
    example = max(long - short, 0.0) / (count - few) if count > few else short / few
    return ForwardTime(max(short - few * example, 0.0), example)


def affordable_examples(
    forward: ForwardTime, measurements: int, seconds: float, max_examples: int
) -> int:
    """Return on how many examples, at least 8, so many measurements fit into a time.

    Example:
    >>> affordable_examples(ForwardTime(call=0.1, example=0.01), 100, 60.0, 256)
    50
    """
    each = seconds / measurements - forward.call
    fitting = math.floor(each / forward.example) if forward.example > 0 else max_examples
    return min(max(fitting, _FEWEST), max_examples)


def measure_sensitivity(
    model: keras.Model, inputs, space: Space, forward: ForwardTime, left: float, directory
) -> Sensitivity:
    """Measure, or read, the sensitivities that the techniques of a space need.

    A tenth of the seconds that are left is used, with fewer inputs if time is short.
    """
    sparsities = _SPARSITIES if "sparsity" in space.techniques else ()
    bits = _BITS if "precision" in space.techniques else ()
    measurements = len(find_kernels(model)) * (len(sparsities) + len(bits))
    if not measurements:
        return Sensitivity(())
    record = directory / "sensitivity.json"
    if not record.exists():
        count = count_examples(inputs)
        chosen = affordable_examples(forward, measurements, _SHARE * left, count)
        write_atomically(record, json.dumps({"examples": chosen}).encode())
    examples = json.loads(record.read_text(encoding="utf-8"))["examples"]
    return sensitivity(
        model,
        first_examples(inputs, examples),
        sparsities=sparsities,
        bits=bits,
        file=directory / "sensitivity.jsonl",
        progress=False,
    )


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the time is spent."""

    end: float  # the moment, by ``now``, at which the search is over
    epochs: int  # of a trial that is neither cut short nor the last
    longest: int  # epochs of a trial that is the last, at most: it gets what is left
    epoch: float  # seconds of an epoch of the original, measured before the first trial
    overhead: float  # seconds of a trial beside its steps of training, likewise
    now: Callable[[], float] = time.monotonic

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.end - self.now()

    def seconds_of_epoch(self, candidate: Candidate, trials: Sequence[Trial]) -> float:
        """Estimate the seconds of an epoch, by trials that removed as many channels or fewer."""
        known: dict[float, list[float]] = {}
        for trial in trials:
            if trial.epochs and trial.candidate.channels <= candidate.channels:
                seconds = trial.training_seconds / trial.epochs
                known.setdefault(trial.candidate.channels, []).append(seconds)
        return statistics.mean(known[max(known)]) if known else self.epoch

    def seconds_beside_training(self, trials: Sequence[Trial]) -> float:
        """Estimate the seconds of a trial beside its training: the most of any so far.

        Untrained trials remove no channels: until one has trained, ``overhead`` counts too.
        """
        finished = [trial for trial in trials if trial.error is None]
        known = [trial.seconds - trial.training_seconds for trial in finished]
        if not any(trial.candidate.trained for trial in finished):
            known.append(self.overhead)
        return max(known)

    def affordable(self, candidate: Candidate, trials: Sequence[Trial]) -> int:
        """Return how many epochs of a candidate fit now; 0 if none does.

        At most ``epochs``, or ``longest`` where too little would be left for another trial.
        """
        epoch = self.seconds_of_epoch(candidate, trials)
        possible = math.floor((self.training_end(trials) - self.now()) / epoch)
        another = self.seconds_beside_training(trials) / epoch + self._fewest
        most = self.epochs if possible >= self.epochs + another else self.longest
        return max(min(possible, most), 0)

    @property
    def _fewest(self) -> float:
        """A third of a trial's epochs: fewer say little about its candidate."""
        return max(1, self.epochs / 3)

    def worth_starting(self, candidate: Candidate, trials: Sequence[Trial]) -> bool:
        """Tell whether enough of a trial's epochs fit."""
        return self.affordable(candidate, trials) >= self._fewest

    def training_end(self, trials: Sequence[Trial]) -> float:
        """Return the moment at which training has to end, for the rest to be done in time."""
        return self.end - self.seconds_beside_training(trials) - CLOSING


def choose_epochs(time_budget: float, epoch: float, overhead: float) -> int:
    """Choose the epochs of a trial, 1 to 60, so that about seven trials fit into the seconds.

    Fewer trials, but at least four, if each would have less than 20 epochs.

    Example:
    >>> choose_epochs(900, epoch=3.0, overhead=15.0), choose_epochs(900, epoch=9.0, overhead=15.0)
    (37, 20)
    """
    many, few = (
        math.floor((time_budget / trials - overhead) / epoch)
        for trials in (_MANY_TRIALS, _FEW_TRIALS)
    )
    return min(max(many, min(few, _ENOUGH_EPOCHS), 1), _MAX_EPOCHS)
