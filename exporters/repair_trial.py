"""Post-training optimization before an int8 file is made: where it is cheap, and helps."""

import dataclasses
import time
from collections.abc import Callable

import keras
import numpy as np

from exporters.converting import ConvertedModel
from exporters.report import RepairTrial
from exporters.running.runtime import RunError
from exporters.validation import squared_errors
from tfcompress.clustering import cluster_summary
from tfcompress.data import Inputs, count_examples, gather, map_arrays
from tfcompress.post_training import CorrectBiases, Equalize, RoundWeights
from tfcompress.post_training.optimization import optimized, require_optimizable
from tfcompress.post_training.representative_data import input_batches
from tfcompress.quantization import Scheme
from tfcompress.quantization.float_file import ConversionError

_SECONDS = 60.0  # that a repair may take
_LOOK = 5.0  # seconds after which it can be told how long it will take
_FEWEST, _MOST = 96, 240  # examples; every third of them judges
_SIZE, _VALUES = 1024, 256
_SURE = 2.0  # standard deviations


class _TooLongError(Exception):
    """A repair would take longer than it may."""

    def __init__(self, seconds: float):
        super().__init__(f"it would take about {seconds:.0f} s; `tfc.repair` has no limit")


class _Clock:
    """Ends a repair that will take too long."""

    def __init__(self, tell: Callable[[str], None]):
        self._tell = tell
        self._begun: tuple[float, float, float] | None = None

    def __call__(self, share: float) -> None:
        wall, processor = time.monotonic(), time.process_time()
        self._tell(f"repairing the model, {min(share, 1.0):.0%}")
        if self._begun is None:  # what came before is traced once
            self._begun = wall, processor, share
            return
        # Other work on the computer counts in the one, and several cores in the other.
        passed = min(wall - self._begun[0], processor - self._begun[1])
        begun = self._begun[2]
        seconds = passed * (1.0 - begun) / (share - begun)
        if passed > _LOOK and share < 0.5 and seconds > _SECONDS:
            raise _TooLongError(seconds)


def try_repair(
    plain: ConvertedModel,
    convert: Callable[[keras.Model], ConvertedModel],
    reference: Callable,
    representative_data,
    reported: int,
    tell: Callable[[str], None],
) -> tuple[ConvertedModel, RepairTrial]:
    """Repair a model for int8, and take its file where that is nearer to the model for certain.

    Both files have their ranges from all of the data; what judges them, the repair has not seen.
    The first ``reported`` examples, which the file is compared on later, are left out.
    """
    start = time.monotonic()
    inputs, _ = gather(representative_data, reported + _MOST)
    count = count_examples(inputs)
    if count - reported < _FEWEST:
        few = f"it takes {_FEWEST + reported} representative examples; there are {count}"
        return plain, RepairTrial(False, few)
    # Clustered, or repaired before: many weights besides zeros have no more values than 8 bits.
    kernels = cluster_summary(plain.model).kernels
    if any(
        kernel.weights * (1 - kernel.zeros) >= _SIZE and kernel.values <= _VALUES
        for kernel in kernels
    ):
        return plain, RepairTrial(False, "its kernels share few values, which a repair would undo")
    chosen, judging = _split(inputs, reported, count)
    steps = Equalize(), RoundWeights(), CorrectBiases()
    try:
        own = require_optimizable(plain.model)
        batches = input_batches(own, chosen, _MOST)
        better = convert(optimized(own, batches, steps, Scheme.int8(), tell=_Clock(tell)))
        tell("judging the repaired model")
        errors = [squared_errors(file.flatbuffer, reference, judging) for file in (plain, better)]
    except (_TooLongError, ValueError, ConversionError, RunError) as error:
        return plain, RepairTrial(False, str(error), seconds=time.monotonic() - start)
    helps = is_better(*errors)
    trial = RepairTrial(
        helps,
        "" if helps else "a repair does not help for certain",
        len(errors[0]),
        *(float(-10 * np.log10(max(error.mean(), 1e-30))) for error in errors),
        time.monotonic() - start,
    )
    return (dataclasses.replace(better, models=plain.models) if helps else plain), trial


def is_better(before: np.ndarray, after: np.ndarray) -> bool:
    """Tell whether errors of examples are smaller: in sum, and on more, than chance explains.

    The mean gain must be above two of its standard errors, and the gains outnumber the losses by
    two standard deviations of as many throws of a coin.

    Example:
    >>> is_better(np.full(16, 2.0), np.full(16, 1.0)), is_better(np.full(3, 2.0), np.full(3, 1.0))
    (True, False)
    """
    gain = before - after
    enough = _SURE * gain.std(ddof=1) / np.sqrt(len(gain))
    signs = np.sign(gain)
    return bool(gain.mean() > enough and signs.sum() > _SURE * np.sqrt(np.count_nonzero(signs)))


def _split(inputs: Inputs, first: int, count: int) -> tuple[Inputs, Inputs]:
    """Return the examples that a repair sees, and every third, which judges it."""
    rows = np.arange(first, count)
    judges = np.arange(len(rows)) % 3 == 2
    seen = map_arrays(inputs, lambda array: array[rows[~judges]])
    return seen, map_arrays(inputs, lambda array: array[rows[judges]])
