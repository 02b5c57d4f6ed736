"""The candidates of a search: how far a model is compressed, by which techniques."""

import dataclasses
import math
from collections.abc import Sequence

TECHNIQUES = ("channels", "sparsity", "precision", "clusters")

# Levels from gentle to hard; the first leaves the model alone.
_LEVELS = {
    "channels": tuple(part / 16 for part in range(13)),
    "sparsity": (0.0, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9),
    "precision": (1.0, 0.9, 0.8, 0.7, 0.6),
    "clusters": (None, 64, 32, 16),
}


@dataclasses.dataclass(frozen=True)
class Candidate:
    """How far a model is compressed.

    Attributes:
        channels: the share of channels removed from each group that can shrink; what is left is
            rounded to fours.
        sparsity: the share of weights set to zero among those that pruning works on.
        precision: bytes of the weights as a share of what 8 bits take; below 1 the kernels that
            suffer least have 4 bits.
        clusters: how many values the weights of a kernel share; None for any.
        trained: whether it is fine-tuned. One that is not costs seconds.
    """

    channels: float = 0.0
    sparsity: float = 0.0
    precision: float = 1.0
    clusters: int | None = None
    trained: bool = True

    def within(self, other: "Candidate") -> bool:
        """Tell whether another candidate goes at least as far by every technique."""
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
        """Say it in a few words."""
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
    """The candidates that some techniques span.

    Args:
        techniques: names of ``TECHNIQUES``.

    Raises:
        ValueError: a name is unknown.
    """

    techniques: tuple[str, ...]

    def __post_init__(self):
        unknown = [name for name in self.techniques if name not in TECHNIQUES]
        if unknown:
            raise ValueError(
                f"`techniques` are among {list(TECHNIQUES)}. Received: {self.techniques!r}"
            )

    def levels(self, technique: str) -> Sequence:
        """Return the levels of a technique, from gentle to hard."""
        return _LEVELS[technique] if technique in self.techniques else _LEVELS[technique][:1]

    def restricted(self, candidate: Candidate) -> Candidate:
        """Return a candidate without the techniques that are not in the space."""
        off = {name: _LEVELS[name][0] for name in TECHNIQUES if name not in self.techniques}
        return dataclasses.replace(candidate, **off)

    def moved(self, candidate: Candidate, technique: str, steps: int) -> Candidate | None:
        """Return a candidate some levels harder or gentler; None beyond the last level."""
        levels = self.levels(technique)
        place = levels.index(getattr(candidate, technique)) + steps
        if not 0 <= place < len(levels):
            return None
        return dataclasses.replace(candidate, **{technique: levels[place]}, trained=True)
