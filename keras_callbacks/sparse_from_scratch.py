"""Training sparse from the first step on, at the cost of a sparse model all the way.

Two callbacks of the same shape as ``MagnitudePruning``. They differ in where weights grow.
"""

from keras_callbacks.pruning import MagnitudePruning
from tfcompress.keras_graph.selection import LayerSelector
from tfcompress.pruning.criteria import Criterion, Gradient, Random
from tfcompress.pruning.rewiring import RewiringPruner, drop_fraction
from tfcompress.pruning.schedule import TO_THE_END
from tfcompress.pruning.schedules import ConstantSparsity


class _DynamicSparseTraining(MagnitudePruning):
    """Masks drawn at the start; then the smallest weights go and as many grow elsewhere."""

    pruner_type = RewiringPruner

    def __init__(
        self,
        criterion: Criterion,
        sparsity,
        layers,
        end_step,
        frequency,
        drop,
        allocation,
        prune_depthwise,
        seed,
    ):
        schedule = ConstantSparsity(sparsity, 0, end_step=end_step, frequency=frequency)
        super().__init__(schedule, layers, allocation=allocation, prune_depthwise=prune_depthwise)
        if not 0 < drop <= 1:
            raise ValueError(
                "`drop` is the share of weights that move at first and must lie in (0, 1]. "
                f"Received: drop={drop!r}"
            )
        self.criterion = criterion  # says where weights grow, and so is not asked at step 0
        self.drop = drop
        self.seed = seed

    def update(self, sparsity, last):
        """Draw the first masks, or move a part of them."""
        if self._due() == 0:
            self._pruner.start(sparsity, self.seed)
        else:
            self._pruner.rewire(self._moving(self._due()), self.growth())
        if self._pruner.gradients is not None:
            self._pruner.gradients.reset()

    def hold(self, sparsity):
        """Leave the model as it is: it is as sparse as ever, and what grows now never trains."""

    def recover(self, sparsity):
        """Take the zeros of the model for masks."""
        return self._pruner.recover(sparsity, self.drop)

    def growth(self):
        """Return for each kernel the scores of where weights grow."""
        raise NotImplementedError

    def _due(self):
        return self._running.last_update(self._last_step)

    def _moving(self, step):
        return drop_fraction(self.drop, step / max(self._running.end_step, 1))

    def _filled_in(self, planned):
        filled = super()._filled_in(planned)
        if filled.end_step == TO_THE_END:
            raise ValueError(
                f"{type(self).__name__} moves ever fewer weights until the training ends, but the "
                "data does not tell how many steps an epoch has. Pass `steps_per_epoch` to `fit`, "
                "or `end_step` to the callback. Received: end_step=-1"
            )
        return filled


class RigL(_DynamicSparseTraining):
    """Train a sparse model from scratch; weights grow where the loss asks for them.

    Masks are drawn at the first step. Every ``frequency`` steps the smallest weights of each kernel
    are given up, and as many grow, from zero, where the gradient of the loss, summed since the last
    time, is largest. The sparsity is the same throughout, exactly. How many weights move falls
    along half a cosine from ``drop`` to nothing at ``end_step``.

    Args:
        sparsity: the share of zeros over all selected kernels, in [0, 1).
        layers: which layers: a regular expression, a list of names or layers, or a callable.
        end_step: the step at which places are settled; -1 for the end of the training. Three
            quarters of it leave the last grown weights time to train.
        frequency: steps between two moves; see ``Schedule``.
        drop: the share of the present weights that moves at first.
        allocation: "erk" leaves small kernels denser, "uniform" treats all the same.
        prune_depthwise: whether depthwise kernels take part.
        seed: of the first masks.

    Raises:
        TypeError: see ``MagnitudePruning``.
        ValueError: see ``MagnitudePruning``; also where ``drop`` lies outside (0, 1], or the length
            of the training is not known.

    Example:
    >>> rigl = RigL(0.9, end_step=750, frequency=25)
    >>> model.fit(x, y, epochs=10, callbacks=[rigl])

    Source: Evci et al., "Rigging the lottery: making all tickets winners", 2020,
    https://arxiv.org/abs/1911.11134.
    """

    def __init__(
        self,
        sparsity: float,
        layers: LayerSelector = None,
        *,
        end_step: int = TO_THE_END,
        frequency: int | None = None,
        drop: float = 0.3,
        allocation: str = "erk",
        prune_depthwise: bool = False,
        seed: int = 0,
    ):
        super().__init__(
            Gradient(), sparsity, layers, end_step, frequency, drop, allocation, prune_depthwise,
            seed,
        )  # fmt: skip

    def growth(self):
        """Return the magnitudes of the summed gradients."""
        return [
            self.criterion.scores(total, index, total)
            for index, total in enumerate(self._pruner.gradients.read())
        ]


class SET(_DynamicSparseTraining):
    """Train a sparse model from scratch; weights grow anywhere.

    As ``RigL``, but without gradients: what grows is drawn. Costs nothing besides the masks.

    Args:
        sparsity: the share of zeros over all selected kernels, in [0, 1).
        layers: which layers: a regular expression, a list of names or layers, or a callable.
        end_step: the step at which places are settled; -1 for the end of the training.
        frequency: steps between two moves; see ``Schedule``.
        drop: the share of the present weights that moves at first.
        allocation: "erk" leaves small kernels denser, "uniform" treats all the same.
        prune_depthwise: whether depthwise kernels take part.
        seed: of the first masks, and of what grows.

    Raises:
        TypeError: see ``RigL``.
        ValueError: see ``RigL``.

    Example:
    >>> model.fit(x, y, epochs=10, callbacks=[SET(0.9, end_step=750, frequency=25)])

    Source: Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse
    connectivity inspired by network science", 2018, https://arxiv.org/abs/1707.04780.
    """

    def __init__(
        self,
        sparsity: float,
        layers: LayerSelector = None,
        *,
        end_step: int = TO_THE_END,
        frequency: int | None = None,
        drop: float = 0.3,
        allocation: str = "erk",
        prune_depthwise: bool = False,
        seed: int = 0,
    ):
        super().__init__(
            Random(seed), sparsity, layers, end_step, frequency, drop, allocation, prune_depthwise,
            seed,
        )  # fmt: skip

    def growth(self):
        """Return a draw of its own for each update, the same after an interruption."""
        # Beside the seed, not above it: seed 1 at step 0 is not seed 0 at step 1.
        draw = Random(self.seed * 1_000_003 + self._due())
        return [
            draw.scores(kernel.variable.value.numpy(), index)
            for index, kernel in enumerate(self._pruner.kernels)
        ]
