"""How much a weight matters: the smallest scores are masked first."""

import dataclasses
from typing import ClassVar

import keras
import numpy as np
from keras import ops


class Criterion:
    """What all criteria share. Subclasses are frozen, serialisable dataclasses.

    Attributes:
        uses_gradients: whether ``contribution`` is summed up over the training steps.
        forgets: whether that sum starts anew after each update of the masks.
    """

    uses_gradients: ClassVar[bool] = False
    forgets: ClassVar[bool] = False

    def scores(
        self, weights: np.ndarray, kernel_index: int, accumulated: np.ndarray | None = None
    ) -> np.ndarray:
        """Return a score for each weight.

        Args:
            weights: the kernel, of any shape.
            kernel_index: the position of the kernel among those that are pruned.
            accumulated: the sum of the contributions, for a criterion that uses gradients.
        """
        raise NotImplementedError

    def contribution(self, gradient, weights):
        """Return what one step adds to the sum, from tensors of the kernel's shape."""
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
    """The magnitude of the weight; groups compare by their mean magnitude.

    Source: Han et al., "Learning both weights and connections", 2015.
    """

    def scores(self, weights, kernel_index, accumulated=None):
        """Return the magnitudes."""
        return np.abs(weights)


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class L2(Criterion):
    """The square of the weight: single weights rank as with L1, groups by their mean energy."""

    def scores(self, weights, kernel_index, accumulated=None):
        """Return the squares."""
        return np.square(weights)


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class Taylor(Criterion):
    """The change of the loss that removing the weight would make, to first order, squared.

    ``(gradient * weight) ** 2`` is summed over the steps between two updates, from the gradients
    that the optimizer applies: averaged over replicas and accumulation steps, clipped, unscaled.

    Source: Molchanov et al., "Importance estimation for neural network pruning", 2019, equation 8.
    """

    uses_gradients: ClassVar[bool] = True
    forgets: ClassVar[bool] = True

    def scores(self, weights, kernel_index, accumulated=None):
        """Return the sums."""
        return accumulated

    def contribution(self, gradient, weights):
        """Return the squared first-order change of the loss."""
        return ops.square(gradient * weights)


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class Movement(Criterion):
    """How far training moves the weight away from zero, summed over the whole training.

    ``-gradient * weight`` is positive where a step makes the weight larger. A masked weight keeps
    its sum, and comes back, from zero, when others fall below it. Good for fine-tuning, where
    large weights are large because of the earlier task.

    Source: Sanh et al., "Movement pruning", 2020, equation 3.
    """

    uses_gradients: ClassVar[bool] = True

    def scores(self, weights, kernel_index, accumulated=None):
        """Return the sums."""
        return accumulated

    def contribution(self, gradient, weights):
        """Return the movement away from zero."""
        return -gradient * weights


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class Gradient(Criterion):
    """The magnitude of the gradient, averaged over the steps since the last update.

    What a masked weight would do for the loss if it grew: it says where, not which weights to keep.

    Source: Evci et al., "Rigging the lottery", 2020.
    """

    uses_gradients: ClassVar[bool] = True
    forgets: ClassVar[bool] = True

    def scores(self, weights, kernel_index, accumulated=None):
        """Return the magnitudes of the sums."""
        return np.abs(accumulated)

    def contribution(self, gradient, weights):
        """Return the gradient."""
        return gradient


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class Random(Criterion):
    """A score drawn once for each weight: the baseline that a criterion has to beat.

    Args:
        seed: of the generator; the same seed gives the same masks.
    """

    seed: int = 0

    def scores(self, weights, kernel_index, accumulated=None):
        """Return the draw, the same at each update, so that masks only grow."""
        return np.random.default_rng([self.seed, kernel_index]).random(weights.shape)


NAMED = {"l1": L1, "l2": L2, "taylor": Taylor, "movement": Movement, "random": Random}


def as_criterion(criterion) -> Criterion:
    """Return the criterion that a name or an object means.

    Args:
        criterion: "l1", "l2", "taylor", "movement", "random", or a ``Criterion``.

    Raises:
        ValueError: the name is unknown.
        TypeError: it is neither a name nor a ``Criterion``.
    """
    if isinstance(criterion, Criterion):
        return criterion
    if isinstance(criterion, str) and criterion in NAMED:
        return NAMED[criterion]()
    error = ValueError if isinstance(criterion, str) else TypeError
    raise error(
        f"`criterion` must be one of {list(NAMED)}, or a `Criterion` object. "
        f"Received: criterion={criterion!r}"
    )
