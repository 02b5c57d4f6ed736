"""Candidates of a search: how far each technique compresses the model."""

import dataclasses
import math
from collections.abc import Sequence

TECHNIQUES = ("channels", "sparsity", "precision", "clusters")

# Levels from weak to strong; the first leaves the model unchanged.
_LEVELS = {
    "channels": tuple(part / 16 for part in range(13)),
    "sparsity": (0.0, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9),
    "precision": (1.0, 0.9, 0.8, 0.7, 0.6),
    "clusters": (None, 64, 32, 16),
}


@dataclasses.dataclass(frozen=True)
class Candidate:
    """How far a model is compressed."""

    # The share of channels removed from each group that can shrink; what is left is rounded to
    # fours.
    channels: float = 0.0
    sparsity: float = 0.0  # the share of zeros among the weights that can be pruned
    # Bytes of the weights as a share of what 8 bits take; below 1 the least sensitive kernels have
    # 4 bits.
    precision: float = 1.0
    clusters: int | None = None  # how many values the weights of a kernel share; None for any
    trained: bool = True  # whether it is fine-tuned. One that is not costs seconds

    def within(self, other: "Candidate") -> bool:
        """Tell whether another candidate compresses at least as far by every technique."""
        return all(
            _LEVELS[name].index(getattr(self, name)) <= _LEVELS[name].index(getattr(other, name))
            for name in TECHNIQUES
        )

    def estimated_gain(self) -> float:
        """Estimate the logarithm of compression ratio x speed-up, from the candidate alone.

        A kernel loses the channels of both its sides. A weight costs the entropy of whether it is
        zero, and its bits if it is not. Time goes with the multiplications that are left, less what
        every operation costs in any case, hence the power between 1 and 2.
        """
        left = 1.0 - self.channels
        bits = 7.0 if self.clusters is None else min(math.log2(self.clusters), 7.0)
        zero = self.sparsity
        entropy = -sum(p * math.log2(p) for p in (zero, 1.0 - zero) if p > 0)
        weight = (entropy + (1.0 - zero) * bits * self.precision) / 7.0
        return -math.log(left**2 * weight) - 1.5 * math.log(left)

    def to_text(self) -> str:
        """Describe the candidate in a few words."""
        parts = []
        if self.channels:
            parts.append(f"{self.channels:.0%} fewer channels")
        if self.sparsity:
            parts.append(f"{self.sparsity:.0%} zeros")
        if self.precision < 1:
            parts.append(f"4 bits down to {self.precision:.0%} of the bytes")
        if self.clusters:
            parts.append(f"{self.clusters} values a kernel")
        parts.append("int8" if self.trained else "int8, not trained")
        return ", ".join(parts)


@dataclasses.dataclass(frozen=True)
class Space:
    """The candidates that some of the ``TECHNIQUES`` span."""

    techniques: tuple[str, ...]

    def __post_init__(self):
        if not set(self.techniques) <= set(TECHNIQUES):
            raise ValueError(
                f"`techniques` must be among {list(TECHNIQUES)}. Received: {self.techniques!r}"
            )

    def levels(self, technique: str) -> Sequence:
        """Return the levels of a technique, from weak to strong."""
        return _LEVELS[technique] if technique in self.techniques else _LEVELS[technique][:1]

    def restricted(self, candidate: Candidate) -> Candidate:
        """Return a candidate without the techniques that are not in the space."""
        off = {name: _LEVELS[name][0] for name in TECHNIQUES if name not in self.techniques}
        return dataclasses.replace(candidate, **off)

    def moved(self, candidate: Candidate, technique: str, steps: int) -> Candidate | None:
        """Return a candidate some levels stronger or weaker; None beyond the last level."""
        levels = self.levels(technique)
        place = levels.index(getattr(candidate, technique)) + steps
        if not 0 <= place < len(levels):
            return None
        return dataclasses.replace(candidate, **{technique: levels[place]}, trained=True)
