"""Dynamic sparse training: models that are sparse from the first step on.

Two callbacks that differ in where weights grow.
"""

import numpy as np

from keras_callbacks.pruning import MagnitudePruning
from tfcompress.deprecation import renamed_arguments
from tfcompress.keras_graph.selection import LayerSelector
from tfcompress.pruning.criteria import Criterion, Gradient, Random
from tfcompress.pruning.dynamic_sparse_training import RewiringPruner, drop_fraction
from tfcompress.pruning.schedules import TO_THE_END, ConstantSparsity


class _DynamicSparseTraining(MagnitudePruning):
    """Random masks at first; then the smallest weights are dropped and as many are grown."""

    pruner_type = RewiringPruner

    @renamed_arguments(allocation="sparsity_distribution")
    def __init__(
        self,
        sparsity: float,
        layers: LayerSelector = None,
        *,
        end_step: int = TO_THE_END,
        frequency: int | None = None,
        drop: float = 0.3,
        sparsity_distribution: str = "erk",
        prune_depthwise: bool = False,
        seed: int = 0,
    ):
        schedule = ConstantSparsity(sparsity, 0, end_step=end_step, frequency=frequency)
        super().__init__(
            schedule,
            layers,
            sparsity_distribution=sparsity_distribution,
            prune_depthwise=prune_depthwise,
        )
        if sparsity_distribution == "lamp":
            raise ValueError(
                f"{type(self).__name__} draws its masks at random, and 'lamp' ranks magnitudes. "
                "Use 'erk' or 'uniform'. Received: sparsity_distribution='lamp'"
            )
        if not 0 < drop <= 1:
            raise ValueError(
                "`drop` is the fraction of weights that move at first and must lie in (0, 1]. "
                f"Received: drop={drop!r}"
            )
        self.drop = drop
        self.seed = seed
        # Set here: this criterion says where weights grow, and is not evaluated at step 0.
        self.criterion = self.growth_criterion()

    def growth_criterion(self) -> Criterion:
        """Return the criterion that says where weights grow."""
        raise NotImplementedError

    def growth(self) -> list[np.ndarray]:
        """Return for each kernel the scores of where weights grow."""
        raise NotImplementedError

    def update(self, sparsity: float, last: bool) -> None:
        """Draw the first masks, or move some of the weights."""
        due = self._due()
        if due == 0:
            self._pruner.start(sparsity, self.seed)
        else:
            fraction = drop_fraction(self.drop, due / max(self._running.end_step, 1))
            self._pruner.rewire(fraction, self.growth())
        if self._pruner.gradients is not None:
            self._pruner.gradients.reset()

    def hold(self, sparsity: float) -> None:
        """Do nothing: the sparsity is constant, and what grows now never trains."""

    def recover(self, sparsity: float) -> bool:
        """Take the zeros of the model as masks."""
        return self._pruner.recover(sparsity, self.drop)

    def _due(self):
        """Return the step of the present update."""
        return self._running.last_update(self._last_step)

    def _with_end(self, planned):
        """Return the schedule with its end filled in."""
        schedule = super()._with_end(planned)
        if schedule.end_step == TO_THE_END:
            raise ValueError(
                f"{type(self).__name__} moves fewer and fewer weights until the training ends, but "
                "the number of steps per epoch is unknown. Pass `steps_per_epoch` to `fit`, or "
                "`end_step` to the callback. Received: end_step=-1"
            )
        return schedule


class RigL(_DynamicSparseTraining):
    """Train a sparse model from scratch; weights grow where their gradients are largest.

    Masks are drawn at the first step. Every ``frequency`` steps the smallest weights of each kernel
    are dropped, and as many grow, from zero, where the gradient of the loss, summed since the last
    update, is largest. The sparsity is constant. The number of weights that move falls along half a
    cosine from ``drop`` to zero at ``end_step``.

    Args:
        sparsity: the fraction of zeros in all selected kernels, in [0, 1).
        layers: a regular expression, a list of names or layers, or a callable; all by default.
        end_step: the step of the last update; -1 for the end of training. Three quarters of the
            training leave the last grown weights time to train.
        frequency: number of steps between updates; see ``Schedule``.
        drop: the fraction of the weights that moves at first.
        sparsity_distribution: "erk" keeps small kernels denser, "uniform" treats all the same.
        prune_depthwise: whether depthwise kernels take part.
        seed: seed of the first masks.

    Raises:
        TypeError: see ``MagnitudePruning``.
        ValueError: see ``MagnitudePruning``; also if ``drop`` is outside (0, 1], or the length of
            the training is unknown.

    Example:
    >>> rigl = RigL(0.9, end_step=750, frequency=25)
    >>> model.fit(x, y, epochs=10, callbacks=[rigl])

    Source: Evci et al., "Rigging the lottery: making all tickets winners", 2020,
    https://arxiv.org/abs/1911.11134.
    """

    def growth_criterion(self) -> Criterion:
        """Return the summed gradient."""
        return Gradient()

    def growth(self) -> list[np.ndarray]:
        """Return the magnitudes of the summed gradients."""
        return [
            self.criterion.scores(total, index, total)
            for index, total in enumerate(self._pruner.gradients.read())
        ]


class SET(_DynamicSparseTraining):
    """Train a sparse model from scratch; weights grow at random positions.

    Like ``RigL`` without gradients: it costs nothing besides the masks.

    Args:
        sparsity: the fraction of zeros in all selected kernels, in [0, 1).
        layers: a regular expression, a list of names or layers, or a callable; all by default.
        end_step: the step of the last update; -1 for the end of training.
        frequency: number of steps between updates; see ``Schedule``.
        drop: the fraction of the weights that moves at first.
        sparsity_distribution: "erk" keeps small kernels denser, "uniform" treats all the same.
        prune_depthwise: whether depthwise kernels take part.
        seed: seed of the first masks and of the positions where weights grow.

    Raises:
        TypeError: see ``RigL``.
        ValueError: see ``RigL``.

    Example:
    >>> model.fit(x, y, epochs=10, callbacks=[SET(0.9, end_step=750, frequency=25)])

    Source: Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse
    connectivity inspired by network science", 2018, https://arxiv.org/abs/1707.04780.
    """

    def growth_criterion(self) -> Criterion:
        """Return random scores."""
        return Random(self.seed)

    def growth(self) -> list[np.ndarray]:
        """Return new random scores for each update, the same after an interruption."""
        # Beside the seed, not above it: seed 1 at step 0 is not seed 0 at step 1.
        draw = Random(self.seed * 1_000_003 + self._due())
        return [draw.scores(weights, index) for index, weights in enumerate(self._pruner.weights())]
