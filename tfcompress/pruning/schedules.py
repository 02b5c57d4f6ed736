"""The courses that sparsity can take; ``schedule`` says what they share."""

import dataclasses
import math
from typing import ClassVar

import keras

from tfcompress.pruning.schedule import TO_THE_END, Schedule, is_number


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class ConstantSparsity(Schedule):
    """The same sparsity from ``begin_step`` on; which weights are masked may change until the end.

    Args:
        target_sparsity: share of weights that are zero, in [0, 1).
        begin_step: the first step, in batches, at which masks are updated.
        end_step: the step of the last update; -1 for the end of the training.
        frequency: the number of steps between updates; see ``Schedule``.

    Raises:
        ValueError: see ``Schedule``.

    Example:
    >>> ConstantSparsity(0.5, begin_step=10)(10)
    0.5
    """

    target_sparsity: float
    begin_step: int
    end_step: int = TO_THE_END
    frequency: int | None = None

    _sparsity_fields: ClassVar[tuple[str, ...]] = ("target_sparsity",)

    def at(self, progress):
        """Return the target, whatever the progress."""
        return self.target_sparsity


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class PolynomialDecay(Schedule):
    """Fast at first, when many weights matter little, then ever slower.

    The sparsity at progress p is ``final + (initial - final) * (1 - p) ** power``.

    Args:
        initial_sparsity: share of zeros at ``begin_step``, in [0, 1).
        final_sparsity: share of zeros from ``end_step`` on, in [0, 1).
        begin_step: the first step, in batches, at which masks are updated.
        end_step: the step at which the final sparsity is reached; -1 for the end of the training.
        power: exponent of the polynomial; 1 is linear, 3 is the paper's.
        frequency: the number of steps between updates; see ``Schedule``.

    Raises:
        ValueError: see ``Schedule``; also where ``power`` is not positive.

    Example:
    >>> round(PolynomialDecay(0.0, 0.8, begin_step=0, end_step=100)(50), 6)
    0.7

    Source: Zhu and Gupta, "To prune, or not to prune", 2017, equation 1.
    """

    initial_sparsity: float
    final_sparsity: float
    begin_step: int
    end_step: int = TO_THE_END
    power: float = 3
    frequency: int | None = None

    _sparsity_fields: ClassVar[tuple[str, ...]] = ("initial_sparsity", "final_sparsity")

    def __post_init__(self):
        super().__post_init__()
        if not is_number(self.power) or not self.power > 0:
            raise ValueError(
                f"`power` of PolynomialDecay must be positive. Received: power={self.power!r}"
            )

    def at(self, progress):
        """Return the sparsity of the polynomial."""
        change = self.initial_sparsity - self.final_sparsity
        return self.final_sparsity + change * (1.0 - progress) ** self.power


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class CosineDecay(Schedule):
    """Slow at both ends: half a period of a cosine from the initial to the final sparsity.

    The sparsity at progress p is ``initial + (final - initial) * (1 - cos(pi * p)) / 2``.

    Args:
        initial_sparsity: share of zeros at ``begin_step``, in [0, 1).
        final_sparsity: share of zeros from ``end_step`` on, in [0, 1).
        begin_step: the first step, in batches, at which masks are updated.
        end_step: the step at which the final sparsity is reached; -1 for the end of the training.
        frequency: the number of steps between updates; see ``Schedule``.

    Raises:
        ValueError: see ``Schedule``.

    Example:
    >>> round(CosineDecay(0.0, 0.8, begin_step=0, end_step=100)(50), 6)
    0.4

    Source: Dettmers and Zettlemoyer, "Sparse networks from scratch", 2019 (cosine annealing).
    """

    initial_sparsity: float
    final_sparsity: float
    begin_step: int
    end_step: int = TO_THE_END
    frequency: int | None = None

    _sparsity_fields: ClassVar[tuple[str, ...]] = ("initial_sparsity", "final_sparsity")

    def at(self, progress):
        """Return the sparsity of the half cosine."""
        return _half_cosine(self.initial_sparsity, self.final_sparsity, progress)


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """Each update removes the same share of the weights that are left.

    The density at progress p is ``(1 - initial) ** (1 - p) * (1 - final) ** p``: iterative
    magnitude pruning, spread over one training.

    Args:
        initial_sparsity: share of zeros at ``begin_step``, in [0, 1).
        final_sparsity: share of zeros from ``end_step`` on, in [0, 1).
        begin_step: the first step, in batches, at which masks are updated.
        end_step: the step at which the final sparsity is reached; -1 for the end of the training.
        frequency: the number of steps between updates; see ``Schedule``.

    Raises:
        ValueError: see ``Schedule``.

    Example:
    >>> ExponentialDecay(0.0, 0.75, begin_step=0, end_step=100)(50)
    0.5

    Source: Frankle and Carbin, "The lottery ticket hypothesis", 2019 (a fixed share a round).
    """

    initial_sparsity: float
    final_sparsity: float
    begin_step: int
    end_step: int = TO_THE_END
    frequency: int | None = None

    _sparsity_fields: ClassVar[tuple[str, ...]] = ("initial_sparsity", "final_sparsity")

    def at(self, progress):
        """Return the sparsity that leaves a geometric sequence of densities."""
        if progress in (0.0, 1.0):
            return self.final_sparsity if progress else self.initial_sparsity
        kept = (1.0 - self.initial_sparsity) ** (1.0 - progress)
        return 1.0 - kept * (1.0 - self.final_sparsity) ** progress


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class OneCycle(Schedule):
    """Up to a peak above the target, then partly regrown: two half cosines.

    Weights that come back start from zero, as in dense-sparse-dense training; they repair what
    the peak broke.

    Args:
        initial_sparsity: share of zeros at ``begin_step``, in [0, 1).
        peak_sparsity: share of zeros at the peak, in [0, 1), not below the final one.
        final_sparsity: share of zeros from ``end_step`` on, in [0, 1).
        begin_step: the first step, in batches, at which masks are updated.
        end_step: the step at which the final sparsity is reached; -1 for the end of the training.
        peak_at: the share of the schedule that lies before the peak, in (0, 1).
        frequency: the number of steps between updates; see ``Schedule``.

    Raises:
        ValueError: see ``Schedule``; also where ``peak_at`` lies outside (0, 1), or the peak lies
            below the initial or the final sparsity.

    Example:
    >>> cycle = OneCycle(0.0, 0.9, 0.75, begin_step=0, end_step=100)
    >>> cycle(60), cycle(100)
    (0.9, 0.75)

    Sources: Han et al., "DSD: dense-sparse-dense training", 2017 (regrowth); Smith and Topin,
    "Super-convergence", 2018 (one cycle).
    """

    initial_sparsity: float
    peak_sparsity: float
    final_sparsity: float
    begin_step: int
    end_step: int = TO_THE_END
    peak_at: float = 0.6
    frequency: int | None = None

    _sparsity_fields: ClassVar[tuple[str, ...]] = (
        "initial_sparsity",
        "peak_sparsity",
        "final_sparsity",
    )

    def __post_init__(self):
        super().__post_init__()
        if not is_number(self.peak_at) or not 0 < self.peak_at < 1:
            raise ValueError(
                "`peak_at` of OneCycle is a share of the schedule and must lie in (0, 1). "
                f"Received: peak_at={self.peak_at!r}"
            )
        if self.peak_sparsity < max(self.initial_sparsity, self.final_sparsity):
            raise ValueError(
                "`peak_sparsity` of OneCycle must not lie below the initial or the final one. "
                f"Received: initial_sparsity={self.initial_sparsity}, "
                f"peak_sparsity={self.peak_sparsity}, final_sparsity={self.final_sparsity}"
            )

    @property
    def highest(self):
        """The sparsity at the peak."""
        return self.peak_sparsity

    def at(self, progress):
        """Return the sparsity on the way up or on the way down."""
        if progress <= self.peak_at:
            return _half_cosine(self.initial_sparsity, self.peak_sparsity, progress / self.peak_at)
        down = (progress - self.peak_at) / (1.0 - self.peak_at)
        return _half_cosine(self.peak_sparsity, self.final_sparsity, down)


def as_schedule(schedule) -> Schedule:
    """Return a schedule of this package for one of this package or of TFMOT.

    Args:
        schedule: a ``Schedule``, or a TFMOT ``ConstantSparsity`` or ``PolynomialDecay`` object.
            TFMOT is not imported: its ``get_config`` says all.

    Raises:
        TypeError: it is neither.
        ValueError: its numbers are out of range; see ``Schedule``.

    Example:
    >>> as_schedule(tfmot.sparsity.keras.ConstantSparsity(0.5, begin_step=0))
    ConstantSparsity(target_sparsity=0.5, begin_step=0, end_step=-1, frequency=100)
    """
    if isinstance(schedule, Schedule):
        return schedule
    same = {"ConstantSparsity": ConstantSparsity, "PolynomialDecay": PolynomialDecay}
    cls = same.get(type(schedule).__name__)
    if cls is not None and hasattr(schedule, "get_config"):
        return cls(**schedule.get_config()["config"])
    raise TypeError(
        "`schedule` must be a pruning schedule: ConstantSparsity, PolynomialDecay, CosineDecay, "
        "ExponentialDecay or OneCycle, or a ConstantSparsity or PolynomialDecay of TFMOT. "
        f"Received: schedule={schedule!r} of type {type(schedule).__name__}"
    )


def _half_cosine(start, stop, progress):
    # Written as a weighted sum so that both ends are exact.
    weight = (1.0 - math.cos(math.pi * progress)) / 2.0
    return start * (1.0 - weight) + stop * weight
