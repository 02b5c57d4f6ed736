"""How much a weight matters: the smallest scores are masked first."""

import dataclasses

import keras
import numpy as np


class Criterion:
    """What all criteria share. Subclasses are frozen, serialisable dataclasses."""

    def scores(self, weights: np.ndarray, kernel_index: int) -> np.ndarray:
        """Return a score for each weight.

        Args:
            weights: the kernel, of any shape.
            kernel_index: the position of the kernel among those that are pruned.
        """
        raise NotImplementedError

    def get_config(self) -> dict:
        """Return the arguments that rebuild the criterion."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        """Rebuild a criterion from its configuration."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class L1(Criterion):
    """The magnitude of the weight; groups compare by their mean magnitude."""

    def scores(self, weights, kernel_index):
        """Return the magnitudes."""
        return np.abs(weights)


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class L2(Criterion):
    """The square of the weight: single weights rank as with L1, groups by their mean energy."""

    def scores(self, weights, kernel_index):
        """Return the squares."""
        return np.square(weights)


def as_criterion(criterion) -> Criterion:
    """Return the criterion that a name or an object means.

    Args:
        criterion: "l1", "l2", or a ``Criterion``.

    Raises:
        ValueError: the name is unknown.
        TypeError: it is neither a name nor a ``Criterion``.
    """
    if isinstance(criterion, Criterion):
        return criterion
    named = {"l1": L1, "l2": L2}
    if isinstance(criterion, str):
        if criterion.lower() in named:
            return named[criterion.lower()]()
        raise ValueError(
            f"`criterion` must be one of {sorted(named)}. Received: criterion={criterion!r}"
        )
    raise TypeError(
        f"`criterion` must be a name among {sorted(named)}, or a `Criterion`. "
        f"Received: criterion={criterion!r} of type {type(criterion).__name__}"
    )
