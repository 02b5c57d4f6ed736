"""How sparse a model should be at each training step.

A schedule is a frozen, serialisable description and a pure function of the step. Step ``t`` is the
moment when ``t`` batches have been trained since pruning was started. Masks are updated at
``begin_step``, at every ``frequency`` steps after it and at ``end_step``; from then on they stay.
"""

import dataclasses
import math
import numbers
from typing import ClassVar

import keras

TO_THE_END = -1


class Schedule:
    """What all schedules share: when masks are updated. Subclasses, dataclasses, say how many.

    Args:
        begin_step: the first step, in batches, at which masks are updated.
        end_step: the step at which the final sparsity is reached; -1 for the end of the training.
        frequency: the number of steps between updates.

    Raises:
        ValueError: a sparsity lies outside [0, 1), a step is no non-negative integer, the end lies
            before the beginning, or ``frequency`` is below 1.
    """

    begin_step: int
    end_step: int
    frequency: int
    _sparsity_fields: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        for name in self._sparsity_fields:
            _check_sparsity(type(self).__name__, name, getattr(self, name))
        self._check_step("begin_step", minimum=0)
        self._check_step("end_step", minimum=TO_THE_END)
        self._check_step("frequency", minimum=1)
        if self.end_step != TO_THE_END and self.end_step < self.begin_step:
            raise ValueError(
                f"`begin_step` of {type(self).__name__} must not come after `end_step`. Received: "
                f"begin_step={self.begin_step}, end_step={self.end_step}"
            )

    def _check_step(self, name, minimum):
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
        """The largest sparsity on the way."""
        return max(self.initial, self.final)

    def at(self, progress: float) -> float:
        """Return the sparsity when a share ``progress`` in [0, 1] of the schedule has passed."""
        raise NotImplementedError

    def __call__(self, step: int) -> float:
        """Return the sparsity asked for at a step: 0 before ``begin_step``.

        Args:
            step: the number of batches trained.

        Raises:
            ValueError: the schedule lasts to the end of a training whose length is not known yet;
                see ``ending_at``.
        """
        if step < self.begin_step:
            return 0.0
        if self.initial == self.final == self.highest:
            return self.final
        if self.end_step == TO_THE_END:
            raise ValueError(
                f"{type(self).__name__} lasts to the end of the training (end_step=-1), so its "
                "sparsity is known only once the length of the training is: use `ending_at(step)`."
            )
        if step >= self.end_step:
            return self.final
        return self.at((step - self.begin_step) / (self.end_step - self.begin_step))

    def last_update(self, step: int) -> int | None:
        """Return the latest step, up to the given one, at which masks are to be updated.

        Args:
            step: the number of batches trained.

        Returns:
            That step, or None before ``begin_step``.
        """
        if step < self.begin_step:
            return None
        if self.end_step != TO_THE_END and step >= self.end_step:
            return self.end_step
        return step - (step - self.begin_step) % self.frequency

    def ending_at(self, step: int) -> "Schedule":
        """Return the schedule with "to the end of the training" replaced by a step.

        Raises:
            ValueError: the training ends before the schedule begins.
        """
        if self.end_step != TO_THE_END:
            return self
        if step < self.begin_step:
            raise ValueError(
                f"The training ends at step {step}, before {type(self).__name__} begins. Train "
                f"longer or begin earlier. Received: begin_step={self.begin_step}"
            )
        return dataclasses.replace(self, end_step=step)

    def get_config(self) -> dict:
        """Return the arguments that rebuild the schedule."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        """Rebuild a schedule from its configuration."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class ConstantSparsity(Schedule):
    """The same sparsity from ``begin_step`` on; which weights are masked may change until the end.

    Args:
        target_sparsity: share of weights that are zero, in [0, 1).
        begin_step: the first step, in batches, at which masks are updated.
        end_step: the step of the last update; -1 for the end of the training.
        frequency: the number of steps between updates.

    Raises:
        ValueError: see ``Schedule``.

    Example:
    >>> ConstantSparsity(0.5, begin_step=10)(10)
    0.5
    """

    target_sparsity: float
    begin_step: int
    end_step: int = TO_THE_END
    frequency: int = 100

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
        frequency: the number of steps between updates.

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
    frequency: int = 100

    _sparsity_fields: ClassVar[tuple[str, ...]] = ("initial_sparsity", "final_sparsity")

    def __post_init__(self):
        super().__post_init__()
        if not _is_number(self.power) or not self.power > 0:
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
        frequency: the number of steps between updates.

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
    frequency: int = 100

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
        frequency: the number of steps between updates.

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
    frequency: int = 100

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
        frequency: the number of steps between updates.

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
    frequency: int = 100

    _sparsity_fields: ClassVar[tuple[str, ...]] = (
        "initial_sparsity",
        "peak_sparsity",
        "final_sparsity",
    )

    def __post_init__(self):
        super().__post_init__()
        if not _is_number(self.peak_at) or not 0 < self.peak_at < 1:
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


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check_sparsity(owner, name, value):
    if not _is_number(value) or not 0.0 <= value < 1.0:
        raise ValueError(
            f"`{name}` of {owner} is the share of zero weights and must lie in [0, 1). "
            f"Received: {name}={value!r}"
        )
