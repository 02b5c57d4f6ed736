"""Schedules: the target sparsity at each training step.

A schedule is a frozen, serializable function of the step. Step ``t`` means that ``t`` batches have
been trained since pruning started. Masks are updated at ``begin_step``, then every ``frequency``
steps, and last at ``end_step``. Without a frequency there are twenty updates.
"""

import dataclasses
import math
import numbers
from typing import Any

import keras

from tfcompress.pruning.configuration import Configuration

TO_THE_END = -1
_UPDATES = 20
_LONGEST_INTERVAL = 100  # steps; by then an update costs little in comparison


class Schedule(Configuration):
    """Base class of the schedules: when masks are updated. Subclasses are frozen dataclasses.

    Args:
        begin_step: the first step, in batches, at which masks are updated.
        end_step: the step at which the final sparsity is reached; -1 for the end of training.
        frequency: number of steps between updates; ``None`` for a twentieth of the schedule, at
            most 100 steps.

    Raises:
        ValueError: a sparsity is outside [0, 1), a step is not a non-negative integer,
            ``end_step`` precedes ``begin_step``, or ``frequency`` is below 1.
    """

    begin_step: int
    end_step: int
    frequency: int | None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name.endswith("_sparsity"):
                check_sparsity(type(self).__name__, field.name, getattr(self, field.name))
        self._check_step("begin_step", minimum=0)
        self._check_step("end_step", minimum=TO_THE_END)
        if self.frequency is not None:
            self._check_step("frequency", minimum=1)
        if self.end_step != TO_THE_END and self.end_step < self.begin_step:
            raise ValueError(
                f"`begin_step` of {type(self).__name__} must not exceed `end_step`. Received: "
                f"begin_step={self.begin_step}, end_step={self.end_step}"
            )

    def _check_step(self, name: str, minimum: int) -> None:
        """Raise ValueError unless a field is an integer of at least a minimum."""
        value = getattr(self, name)
        integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not integer or value < minimum:
            raise ValueError(
                f"`{name}` of {type(self).__name__} must be an integer of at least {minimum}. "
                f"Received: {name}={value!r}"
            )

    @property
    def initial(self) -> float:
        """The sparsity at ``begin_step``."""
        return self.at(0.0)

    @property
    def final(self) -> float:
        """The sparsity from ``end_step`` on."""
        return self.at(1.0)

    @property
    def highest(self) -> float:
        """The largest sparsity of the schedule."""
        return max(self.initial, self.final)

    @property
    def interval(self) -> int:
        """The number of steps between updates."""
        if self.frequency is not None:
            return self.frequency
        if self.end_step == TO_THE_END:
            return _LONGEST_INTERVAL
        return min(max((self.end_step - self.begin_step) // _UPDATES, 1), _LONGEST_INTERVAL)

    def at(self, progress: float) -> float:
        """Return the sparsity at a fraction ``progress`` in [0, 1] of the schedule."""
        raise NotImplementedError

    def __call__(self, step: int) -> float:
        """Return the target sparsity at a step; 0 before ``begin_step``."""
        if step < self.begin_step:
            return 0.0
        if self.initial == self.final == self.highest:
            return self.final
        if self.end_step == TO_THE_END:
            raise ValueError(
                f"{type(self).__name__} lasts to the end of the training (end_step=-1), whose "
                "length is unknown here. Call `schedule.ending_at(last_step)` first. "
                f"Received: step={step}"
            )
        if step >= self.end_step:
            return self.final
        return self.at((step - self.begin_step) / (self.end_step - self.begin_step))

    def last_update(self, step: int) -> int | None:
        """Return the last update step up to ``step``; None before ``begin_step``."""
        if step < self.begin_step:
            return None
        if self.end_step != TO_THE_END and step >= self.end_step:
            return self.end_step
        return step - (step - self.begin_step) % self.interval

    def ending_at(self, step: int) -> "Schedule":
        """Return the schedule with ``end_step=-1`` replaced by a step."""
        if self.end_step != TO_THE_END:
            return self
        if step < self.begin_step:
            raise ValueError(
                f"Training ends at step {step}, before {type(self).__name__} begins. Train longer "
                f"or set an earlier `begin_step`. Received: begin_step={self.begin_step}"
            )
        return dataclasses.replace(self, end_step=step)


def is_number(value: Any) -> bool:
    """Return whether a value is a real number; booleans are not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_sparsity(owner: str, name: str, value: Any) -> None:
    """Raise ValueError unless a value is a sparsity in [0, 1)."""
    if not is_number(value) or not 0.0 <= value < 1.0:
        raise ValueError(
            f"`{name}` of {owner} is the fraction of zero weights and must lie in [0, 1). "
            f"Received: {name}={value!r}"
        )


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class ConstantSparsity(Schedule):
    """A constant sparsity from ``begin_step`` on; the choice of masked weights is still updated.

    Args:
        target_sparsity: fraction of weights that are zero, in [0, 1).
        begin_step, end_step, frequency: when masks are updated; see ``Schedule``.

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

    def at(self, progress: float) -> float:
        """Return the target."""
        return self.target_sparsity


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class PolynomialDecay(Schedule):
    """Prune fast at first, while many weights are redundant, then ever more slowly.

    The sparsity at progress p is ``final + (initial - final) * (1 - p) ** power``. It may fall, as
    in dense-sparse-dense training (Han et al. 2017, https://arxiv.org/abs/1607.04381): weights that
    were masked then train again, from zero.

    Args:
        initial_sparsity: fraction of zeros at ``begin_step``, in [0, 1).
        final_sparsity: fraction of zeros from ``end_step`` on, in [0, 1); less than at first if
            masked weights are to grow again.
        begin_step, end_step, frequency: when masks are updated; see ``Schedule``.
        power: exponent of the polynomial; 1 is linear, the paper uses 3.

    Raises:
        ValueError: see ``Schedule``; also if ``power`` is not positive.

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

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_number(self.power) or not self.power > 0:
            raise ValueError(
                f"`power` of PolynomialDecay must be positive. Received: power={self.power!r}"
            )

    def at(self, progress: float) -> float:
        """Return the sparsity of the polynomial."""
        change = self.initial_sparsity - self.final_sparsity
        return self.final_sparsity + change * (1.0 - progress) ** self.power


@dataclasses.dataclass(frozen=True)
class _Decay(Schedule):
    """The fields of a schedule from one sparsity to another."""

    initial_sparsity: float
    final_sparsity: float
    begin_step: int
    end_step: int = TO_THE_END
    frequency: int | None = None


@keras.saving.register_keras_serializable(package="tfcompress")
class CosineDecay(_Decay):
    """Follow half a cosine from the initial to the final sparsity: slow at both ends.

    The sparsity at progress p is ``initial + (final - initial) * (1 - cos(pi * p)) / 2``.

    Args:
        initial_sparsity: fraction of zeros at ``begin_step``, in [0, 1).
        final_sparsity: fraction of zeros from ``end_step`` on, in [0, 1).
        begin_step, end_step, frequency: when masks are updated; see ``Schedule``.

    Raises:
        ValueError: see ``Schedule``.

    Example:
    >>> round(CosineDecay(0.0, 0.8, begin_step=0, end_step=100)(50), 6)
    0.4

    Source: Dettmers and Zettlemoyer, "Sparse networks from scratch", 2019 (cosine annealing).
    """

    def at(self, progress: float) -> float:
        """Return the sparsity of the half cosine."""
        return _half_cosine(self.initial_sparsity, self.final_sparsity, progress)


@keras.saving.register_keras_serializable(package="tfcompress")
class ExponentialDecay(_Decay):
    """Remove the same fraction of the remaining weights at each update.

    The density at progress p is ``(1 - initial) ** (1 - p) * (1 - final) ** p``: iterative
    magnitude pruning within one training run.

    Args:
        initial_sparsity: fraction of zeros at ``begin_step``, in [0, 1).
        final_sparsity: fraction of zeros from ``end_step`` on, in [0, 1).
        begin_step, end_step, frequency: when masks are updated; see ``Schedule``.

    Raises:
        ValueError: see ``Schedule``.

    Example:
    >>> ExponentialDecay(0.0, 0.75, begin_step=0, end_step=100)(50)
    0.5

    Source: Frankle and Carbin, "The lottery ticket hypothesis", 2019 (a fixed fraction per round).
    """

    def at(self, progress: float) -> float:
        """Return the sparsity of a geometric sequence of densities."""
        if progress in (0.0, 1.0):
            return self.final_sparsity if progress else self.initial_sparsity
        kept = (1.0 - self.initial_sparsity) ** (1.0 - progress)
        return 1.0 - kept * (1.0 - self.final_sparsity) ** progress


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class OneCycle(Schedule):
    """Rise along half a cosine to a peak above the target, then regrow to the target.

    Regrown weights start from zero, as in dense-sparse-dense training, and recover accuracy that
    was lost at the peak.

    Args:
        initial_sparsity: fraction of zeros at ``begin_step``, in [0, 1).
        peak_sparsity: fraction of zeros at the peak, in [0, 1), at least ``final_sparsity``.
        final_sparsity: fraction of zeros from ``end_step`` on, in [0, 1).
        begin_step, end_step, frequency: when masks are updated; see ``Schedule``.
        peak_at: position of the peak as a fraction of the schedule, in (0, 1).

    Raises:
        ValueError: see ``Schedule``; also if ``peak_at`` is outside (0, 1), or the peak is below
            the initial or the final sparsity.

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

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_number(self.peak_at) or not 0 < self.peak_at < 1:
            raise ValueError(
                "`peak_at` of OneCycle is a fraction of the schedule and must lie in (0, 1). "
                f"Received: peak_at={self.peak_at!r}"
            )
        if self.peak_sparsity < max(self.initial_sparsity, self.final_sparsity):
            raise ValueError(
                "`peak_sparsity` of OneCycle must be at least the initial and the final sparsity. "
                f"Received: initial_sparsity={self.initial_sparsity}, "
                f"peak_sparsity={self.peak_sparsity}, final_sparsity={self.final_sparsity}"
            )

    @property
    def highest(self) -> float:
        """The sparsity at the peak."""
        return self.peak_sparsity

    def at(self, progress: float) -> float:
        """Return the sparsity before or after the peak."""
        if progress <= self.peak_at:
            return _half_cosine(self.initial_sparsity, self.peak_sparsity, progress / self.peak_at)
        down = (progress - self.peak_at) / (1.0 - self.peak_at)
        return _half_cosine(self.peak_sparsity, self.final_sparsity, down)


def as_schedule(schedule: Any) -> Schedule:
    """Return a schedule of this package for one of this package or of TFMOT.

    TFMOT is not imported: the config of its ConstantSparsity and PolynomialDecay is enough.

    Example:
    >>> as_schedule(tfmot.sparsity.keras.ConstantSparsity(0.5, begin_step=0))
    ConstantSparsity(target_sparsity=0.5, begin_step=0, end_step=-1, frequency=100)
    """
    if isinstance(schedule, Schedule):
        return schedule
    same = {"ConstantSparsity": ConstantSparsity, "PolynomialDecay": PolynomialDecay}
    cls = same.get(type(schedule).__name__)
    if cls is not None and hasattr(schedule, "get_config"):
        config = schedule.get_config()
        if "config" in config:  # not a learning rate of Keras, of which one has the same name
            return cls(**config["config"])
    raise TypeError(
        "`schedule` must be a pruning schedule: ConstantSparsity, PolynomialDecay, CosineDecay, "
        "ExponentialDecay or OneCycle, or a ConstantSparsity or PolynomialDecay of TFMOT. "
        f"Received: schedule={schedule!r} of type {type(schedule).__name__}"
    )


def _half_cosine(start: float, stop: float, progress: float) -> float:
    """Interpolate along half a cosine; a weighted sum, so that both ends are exact."""
    weight = (1.0 - math.cos(math.pi * progress)) / 2.0
    return start * (1.0 - weight) + stop * weight
