"""How sparse a model should be at each training step.

A schedule is a frozen, serialisable description and a pure function of the step. Step ``t`` is the
moment when ``t`` batches have been trained since pruning was started. Masks are updated at
``begin_step``, at every ``frequency`` steps after it and at ``end_step``; from then on they stay.
A schedule that does not say how often updates its masks twenty times on the way.
"""

import dataclasses
import numbers
from typing import ClassVar

TO_THE_END = -1
_UPDATES = 20
_LONGEST_INTERVAL = 100  # an update costs far less than so many steps


class Schedule:
    """What all schedules share: when masks are updated. Subclasses, dataclasses, say how many.

    Args:
        begin_step: the first step, in batches, at which masks are updated.
        end_step: the step at which the final sparsity is reached; -1 for the end of the training.
        frequency: the number of steps between updates; ``None`` for a twentieth of the way from
            ``begin_step`` to ``end_step``, and 100 at most.

    Raises:
        ValueError: a sparsity lies outside [0, 1), a step is no non-negative integer, the end lies
            before the beginning, or ``frequency`` is below 1.
    """

    begin_step: int
    end_step: int
    frequency: int | None
    _sparsity_fields: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        for name in self._sparsity_fields:
            check_sparsity(type(self).__name__, name, getattr(self, name))
        self._check_step("begin_step", minimum=0)
        self._check_step("end_step", minimum=TO_THE_END)
        if self.frequency is not None:
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

    @property
    def interval(self) -> int:
        """The number of steps between updates."""
        if self.frequency is not None:
            return self.frequency
        if self.end_step == TO_THE_END:
            return _LONGEST_INTERVAL
        return min(max((self.end_step - self.begin_step) // _UPDATES, 1), _LONGEST_INTERVAL)

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
        return step - (step - self.begin_step) % self.interval

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


def is_number(value) -> bool:
    """Tell a real number from a flag and from everything else."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_sparsity(owner: str, name: str, value) -> None:
    """Raise ValueError for what is no share of zeros."""
    if not is_number(value) or not 0.0 <= value < 1.0:
        raise ValueError(
            f"`{name}` of {owner} is the share of zero weights and must lie in [0, 1). "
            f"Received: {name}={value!r}"
        )
