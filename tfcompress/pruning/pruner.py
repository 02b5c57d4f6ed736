"""The kernels of one model under their masks."""

import keras
import numpy as np
from keras import ops

from tfcompress.backends import assign_array, variable_scope
from tfcompress.compat.keras_steps import (
    averages_of,
    carry_state,
    innermost_optimizer,
    unwatch_updates,
    watch_updates,
)
from tfcompress.compat.keras_training import variable_key
from tfcompress.keras_graph.custom_kernels import find_all_kernels
from tfcompress.keras_graph.kernels import Kernel, require_trained
from tfcompress.keras_graph.selection import LayerSelector
from tfcompress.keras_graph.wrapper import require_built
from tfcompress.pruning.criteria import Criterion
from tfcompress.pruning.masks import MaskConstraint
from tfcompress.pruning.patterns import Pattern
from tfcompress.pruning.sparsity_distribution import SparsityDistribution


def prunable_kernels(
    model: keras.Model, layers: LayerSelector = None, depthwise: bool = False
) -> list[Kernel]:
    """List the kernels to prune, checked; depthwise ones, which hold few weights, on request."""
    require_built(model)
    found = find_all_kernels(model, layers)
    kernels = [kernel for kernel in found if depthwise or not kernel.depthwise]
    if not kernels:
        hint = "depthwise ones require `prune_depthwise=True`" if found else "none has a kernel"
        raise ValueError(
            f"`layers` selects no kernel to prune in model {model.name!r}: {hint}. "
            f"Received: layers={layers!r}"
        )
    require_trained(model, kernels, "pruning")
    for kernel in kernels:
        _read(kernel)
    return kernels


class GradientSums:
    """Variables that accumulate ``criterion.contribution`` inside the compiled step.

    Keras optimizers pass each final gradient (summed over replicas, unscaled, averaged over
    accumulation steps, clipped) to ``update_step``. While attached, an instance attribute wraps
    that method. It takes effect when the training step is traced.
    """

    def __init__(self, model: keras.Model, kernels: list[Kernel], criterion: Criterion):
        self._model = model
        self._kernels = kernels
        self._criterion = criterion
        self._optimizer = None
        with variable_scope(model):
            self._sums = [
                keras.Variable(
                    initializer="zeros",
                    shape=kernel.variable.shape,
                    dtype="float32",
                    trainable=False,
                    name="gradient_sum",
                )
                for kernel in kernels
            ]

    def attach(self, optimizer: keras.Optimizer) -> None:
        """Accumulate the gradients of an optimizer from the next tracing of the step on."""
        # Loss scaling hands unscaled gradients to the optimizer inside, and skips bad ones.
        self._optimizer = optimizer = innermost_optimizer(optimizer)
        sums = {
            variable_key(optimizer, kernel.variable): total
            for kernel, total in zip(self._kernels, self._sums, strict=True)
        }

        def accumulate(gradient, variable):
            total = sums.get(variable_key(optimizer, variable))
            if total is not None:
                # An embedding's gradient is sparse: converting makes it dense.
                added = self._criterion.contribution(
                    ops.cast(ops.convert_to_tensor(gradient), "float32"),
                    ops.cast(ops.convert_to_tensor(variable), "float32"),
                )
                optimizer.assign_add(total, added)

        watch_updates(optimizer, accumulate, self._sums)
        carry_state(self._model)

    def detach(self) -> None:
        """Restore the optimizer; steps traced before still accumulate."""
        if self._optimizer is not None:
            unwatch_updates(self._optimizer)
            self._optimizer = None

    def read(self) -> list[np.ndarray]:
        """Return the sums, one array per kernel."""
        return [ops.convert_to_numpy(total) for total in self._sums]

    def write(self, values: list[np.ndarray]) -> None:
        """Set the sums."""
        with variable_scope(self._model):
            for total, value in zip(self._sums, values, strict=True):
                total.assign(value)

    def reset(self) -> None:
        """Set the sums to zero."""
        self.write([np.zeros(total.shape, np.float32) for total in self._sums])


class Pruner:
    """Masks on a model's kernels: set by ``update``, kept by constraints in the compiled step.

    The constraints stay on the variables after training, so that further training keeps the model
    sparse; Keras does not save them. ``remove_masks`` takes them off.

    Attributes:
        kernels: the kernels, as returned by ``prunable_kernels``.
        sparsity: the fraction of weights that the masks keep at zero.
        gradients: the sums of a criterion that uses gradients; None for others.
        needs_tracing: whether a training step compiled before lacks a constraint or a sum.
    """

    def __init__(
        self,
        model: keras.Model,
        kernels: list[Kernel],
        pattern: Pattern,
        criterion: Criterion,
        distribution: SparsityDistribution,
    ):
        self.kernels = kernels
        self._model = model
        self._pattern = pattern
        self._criterion = criterion
        self._distribution = distribution
        self.gradients = None
        if criterion.uses_gradients:
            self.gradients = GradientSums(model, kernels, criterion)
        self.needs_tracing = self.gradients is not None
        self._constraints = []
        with variable_scope(model):
            for kernel in kernels:
                constraint = kernel.variable.constraint
                if not isinstance(constraint, MaskConstraint):
                    shape = tuple(kernel.variable.shape)
                    constraint = MaskConstraint(np.ones(shape, dtype=bool), constraint)
                    kernel.variable.constraint = constraint
                    self.needs_tracing = True
                self._constraints.append(constraint)
        carry_state(model)
        self.sparsity = _sparsity(self.masks())

    def weight_sparsity(self) -> float:
        """Return the fraction of weights that are zero, masked or not."""
        return _sparsity(self.weights())

    def has_kernels_of(self, other: "Pruner") -> bool:
        """Return whether another pruner has the same variables in the same order."""
        ours, theirs = ([id(k.variable) for k in pruner.kernels] for pruner in (self, other))
        return ours == theirs

    def weights(self) -> list[np.ndarray]:
        """Return the weights, one array per kernel."""
        return [ops.convert_to_numpy(kernel.variable) for kernel in self.kernels]

    def masks(self) -> list[np.ndarray]:
        """Return the masks, one per kernel."""
        return [ops.convert_to_numpy(constraint.mask) for constraint in self._constraints]

    def update(self, sparsity: float) -> None:
        """Choose masks for a sparsity from the present weights and apply them at once."""
        weights = [_read(kernel) for kernel in self.kernels]
        masks, thresholds = self._choose(sparsity, weights)
        for constraint, threshold in zip(self._constraints, thresholds, strict=True):
            constraint.threshold = threshold
        self._assign(masks, weights)
        if self._criterion.resets:
            self.gradients.reset()

    def _choose(self, sparsity, weights):
        """Return each kernel's mask at a sparsity, and its smallest score that is kept."""
        sums = self.gradients.read() if self.gradients else [None] * len(self.kernels)
        scores, sizes = [], []
        for index, kernel in enumerate(self.kernels):
            score = self._criterion.scores(weights[index], index, sums[index])
            if sparsity < self.sparsity:
                score = self._ranked_to_regrow(score, index)
            scores.append(self._pattern.pool(score, kernel.output_axes))
            sizes.append(self._pattern.sizes(score.shape, kernel.output_axes))
        masked = self._distribution.choose(scores, sizes, sparsity)
        masks = [
            self._pattern.spread(~groups, tuple(kernel.variable.shape))
            for kernel, groups in zip(self.kernels, masked, strict=True)
        ]
        kept = [score[~groups].min() for score, groups in zip(scores, masked, strict=True)]
        # Infinite: all that the pattern allows to mask is masked, whatever its score.
        return masks, [float(value) if np.isfinite(value) else None for value in kept]

    def _ranked_to_regrow(self, score, index):
        """Rank the masked weights, which all score 0, at random, so that regrowth is spread out."""
        masked = ~ops.convert_to_numpy(self._constraints[index].mask) & (score == 0)
        draw = np.random.default_rng(index).random(score.shape, dtype=np.float32)
        return np.where(masked, -draw, score)

    def set_masks(self, masks: list[np.ndarray]) -> None:
        """Set the masks and zero the masked weights now, so that every checkpoint is sparse."""
        self._assign(masks, self.weights())

    def open(self) -> None:
        """Let all weights train again; zeros remain until the next step."""
        with variable_scope(self._model):
            for constraint in self._constraints:
                constraint.mask.assign(np.ones(constraint.mask.shape, dtype=bool))
                constraint.masked = 0
        self.sparsity = 0.0

    def apply(self) -> None:
        """Zero the masked weights, and their moving averages if the optimizer keeps such."""
        masks = self.masks()
        self.set_masks(masks)
        averages = averages_of(self._model)
        with variable_scope(self._model):
            for kernel, mask in zip(self.kernels, masks, strict=True):
                average = averages.get(id(kernel.variable))
                if average is not None:
                    values = ops.convert_to_numpy(average)
                    assign_array(average, np.where(mask, values, np.zeros((), values.dtype)))

    def _assign(self, masks, weights):
        """Set the masks, and the masked weights to zero."""
        with variable_scope(self._model):
            for kernel, constraint, mask, values in zip(
                self.kernels, self._constraints, masks, weights, strict=True
            ):
                assign_array(constraint.mask, mask)
                constraint.masked = mask.size - int(np.count_nonzero(mask))
                masked = np.where(mask, values, np.zeros((), values.dtype))
                assign_array(kernel.variable, masked.astype(kernel.variable.dtype, copy=False))
        self.sparsity = _sparsity(masks)

    def recover(self, sparsity: float) -> bool:
        """Take the zeros among the weights as masks if an update to ``sparsity`` left them.

        Returns whether the model holds exactly as many zeros as that update masks, and some.
        """
        weights = [_read(kernel) for kernel in self.kernels]
        zeros = [values == 0 for values in weights]
        found = sum(map(np.count_nonzero, zeros))
        masks, _ = self._choose(sparsity, weights)
        expected = sum(np.count_nonzero(~mask) for mask in masks)
        recovered = 0 < found == expected
        if recovered:
            self.set_masks([~zero for zero in zeros])
        return recovered


def _sparsity(arrays):
    """Return the fraction of zeros."""
    nonzero = sum(int(np.count_nonzero(array)) for array in arrays)
    return 1.0 - nonzero / sum(array.size for array in arrays)


def _read(kernel):
    """Return a kernel's weights as float32 or wider, checked to be finite."""
    weights = ops.convert_to_numpy(kernel.variable)
    weights = weights.astype(np.promote_types(weights.dtype, np.float32), copy=False)
    finite = np.isfinite(weights)
    if not finite.all():
        raise ValueError(
            f"Kernel {kernel.path!r} holds {np.count_nonzero(~finite)} NaN or infinite weights, "
            "which cannot be ranked: the training has diverged, or the model was loaded from a "
            f"broken file. Received: {weights[~finite][0]} in shape {weights.shape}"
        )
    return weights


def remove_masks(model: keras.Model) -> None:
    """Remove the masks from a model's kernels, so that further training uses every weight.

    The user's own constraints stay. Saving and exporting do not require this.

    Args:
        model: a model that was pruned.

    Example:
    >>> model.fit(x, y, callbacks=[MagnitudePruning(tfc.ConstantSparsity(0.5, begin_step=0))])
    >>> tfc.remove_masks(model)
    """
    for variable in model.weights:
        if isinstance(variable.constraint, MaskConstraint):
            variable.constraint = variable.constraint.constraint
    # A training step compiled before still applies them.
    model.train_function = None
