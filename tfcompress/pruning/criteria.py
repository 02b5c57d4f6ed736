"""Importance criteria: the weights with the lowest scores are masked first."""

import dataclasses
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from tfcompress.pruning.configuration import Configuration


class Criterion(Configuration):
    """Base class of the importance criteria. Subclasses are frozen, serializable dataclasses.

    Attributes:
        uses_gradients: whether ``contribution`` is accumulated over the training steps.
        resets: whether the accumulated sum restarts at zero after each update of the masks.
    """

    uses_gradients: ClassVar[bool] = False
    resets: ClassVar[bool] = False

    def scores(
        self, weights: np.ndarray, kernel_index: int, accumulated: np.ndarray | None = None
    ) -> np.ndarray:
        """Return a score for each weight.

        Args:
            weights: the kernel, of any shape.
            kernel_index: position of the kernel among the pruned ones.
            accumulated: the sum of the contributions, for a criterion that uses gradients.
        """
        raise NotImplementedError

    def contribution(self, gradient: Any, weights: Any) -> Any:
        """Return what one step adds to the sum, from tensors of the kernel's shape."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class L1(Criterion):
    """The magnitude of the weight; groups compare by their mean magnitude.

    Source: Han et al., "Learning both weights and connections", 2015.
    """

    def scores(
        self, weights: np.ndarray, kernel_index: int, accumulated: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the magnitudes."""
        return np.abs(weights)


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class L2(Criterion):
    """The square of the weight: single weights rank as with L1, groups by their mean energy."""

    def scores(
        self, weights: np.ndarray, kernel_index: int, accumulated: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the squares."""
        return np.square(weights)


class _Accumulated(Criterion):
    """A criterion whose score is the accumulated sum."""

    uses_gradients: ClassVar[bool] = True

    def scores(self, weights: np.ndarray, kernel_index: int, accumulated: Any = None) -> np.ndarray:
        """Return the sums."""
        return accumulated


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class Taylor(_Accumulated):
    """The squared first-order change of the loss if the weight were removed.

    ``(gradient * weight) ** 2`` is summed over the steps between two updates, from the gradients
    that the optimizer applies: averaged over replicas and accumulation steps, clipped, unscaled.

    Source: Molchanov et al., "Importance estimation for neural network pruning", 2019, equation 8.
    """

    resets: ClassVar[bool] = True

    def contribution(self, gradient: Any, weights: Any) -> Any:
        """Return the squared first-order change of the loss."""
        return ops.square(gradient * weights)


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class Movement(_Accumulated):
    """How far training moves the weight away from zero, summed over the whole training.

    ``-gradient * weight`` is positive if a step increases the magnitude of the weight. A masked
    weight keeps its sum and returns, from zero, when others fall below it. Suited to fine-tuning,
    where large weights may matter for the pretraining task alone.

    Source: Sanh et al., "Movement pruning", 2020, equation 3.
    """

    def contribution(self, gradient: Any, weights: Any) -> Any:
        """Return the movement away from zero."""
        return -gradient * weights


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class Gradient(_Accumulated):
    """The magnitude of the gradient since the last update: which masked weights should grow.

    Source: Evci et al., "Rigging the lottery", 2020.
    """

    resets: ClassVar[bool] = True

    def scores(self, weights: np.ndarray, kernel_index: int, accumulated: Any = None) -> np.ndarray:
        """Return the magnitudes of the sums."""
        return np.abs(accumulated)

    def contribution(self, gradient: Any, weights: Any) -> Any:
        """Return the gradient."""
        return gradient


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class Random(Criterion):
    """A random score for each weight, drawn once: the baseline for other criteria.

    Args:
        seed: seed of the generator; the same seed gives the same masks.
    """

    seed: int = 0

    def scores(
        self, weights: np.ndarray, kernel_index: int, accumulated: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the same random numbers at each update, so that masks only grow."""
        return np.random.default_rng([self.seed, kernel_index]).random(weights.shape)


NAMED = {"l1": L1, "l2": L2, "taylor": Taylor, "movement": Movement, "random": Random}


def as_criterion(criterion: Any) -> Criterion:
    """Return the criterion that a name or an object stands for."""
    if isinstance(criterion, Criterion):
        return criterion
    if isinstance(criterion, str) and criterion in NAMED:
        return NAMED[criterion]()
    error = ValueError if isinstance(criterion, str) else TypeError
    raise error(
        f"`criterion` must be one of {list(NAMED)}, or a `Criterion` object. "
        f"Received: criterion={criterion!r}"
    )
