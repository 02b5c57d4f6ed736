"""The kernels of one model under their masks."""

import keras
import numpy as np

from tfcompress.keras_graph.custom_kernels import find_every_kernel
from tfcompress.keras_graph.kernels import Kernel
from tfcompress.keras_graph.selection import LayerSelector, frozen_layers
from tfcompress.pruning.allocation import Allocation
from tfcompress.pruning.criteria import Criterion
from tfcompress.pruning.gradients import GradientSums
from tfcompress.pruning.masks import MaskConstraint
from tfcompress.pruning.pattern import Pattern


def prunable_kernels(
    model: keras.Model, layers: LayerSelector = None, depthwise: bool = False
) -> list[Kernel]:
    """List the kernels that pruning may work on, checked.

    Args:
        model: a built Keras model, or one wrapped for quantization or distillation.
        layers: which layers; see ``select_layers``.
        depthwise: whether depthwise kernels, which hold few weights and much accuracy, count.

    Raises:
        TypeError: ``layers`` is not a selector.
        ValueError: the model is not built, ``layers`` matches nothing or nothing with a kernel,
            a layer is frozen, or a kernel holds NaN or infinity.
    """
    if not model.built:
        raise ValueError(
            f"Model {model.name!r} is not built, so it has no weights to prune. Call it once on a "
            "batch, give it an `Input`, or call `model.build(input_shape)` first."
        )
    found = find_every_kernel(model, layers)
    kernels = [kernel for kernel in found if depthwise or not kernel.depthwise]
    if not kernels:
        hint = "depthwise ones take `prune_depthwise=True`" if found else "none has a kernel"
        raise ValueError(
            f"`layers` selects no kernel to prune in model {model.name!r}: {hint}. "
            f"Received: layers={layers!r}"
        )
    frozen = frozen_layers(model)
    for kernel in kernels:
        if not kernel.variable.trainable or kernel.layer_path in frozen:
            layer_path = kernel.layer_path
            outer = frozen.get(layer_path, layer_path)
            within = f" within {outer!r}" if outer != layer_path else ""
            raise ValueError(
                f"Layer {layer_path!r} is frozen{within}, so its kernel of shape "
                f"{tuple(kernel.variable.shape)} cannot adapt to pruning. Set "
                "`layer.trainable = True`, or leave the layer out with `layers=`. "
                "Received: trainable=False"
            )
        _read(kernel)
    return kernels


class Pruner:
    """Masks on a model's kernels: made by ``update``, kept by constraints in the compiled step.

    The constraints stay on the variables after training, so that the model stays sparse if it is
    trained further; they are not part of what Keras saves. ``remove_masks`` takes them off.

    Args:
        model: the model, for its distribution strategy.
        kernels: as returned by ``prunable_kernels``.
        pattern: which weights go together.
        criterion: which go first.
        allocation: how many of each kernel.

    Attributes:
        kernels: as given.
        sparsity: the share of weights that the masks keep at zero.
        gradients: the sums of a criterion that uses gradients; None for others.
        needs_tracing: whether a constraint or a sum is new, so that a training step that was
            compiled before does not know it.
    """

    def __init__(
        self,
        model: keras.Model,
        kernels: list[Kernel],
        pattern: Pattern,
        criterion: Criterion,
        allocation: Allocation,
    ):
        self.kernels = kernels
        self._strategy = model.distribute_strategy
        self._pattern = pattern
        self._criterion = criterion
        self._allocation = allocation
        self.gradients = None
        if criterion.uses_gradients:
            self.gradients = GradientSums(model, kernels, criterion)
        self.needs_tracing = self.gradients is not None
        self._constraints = []
        with self._strategy.scope():
            for kernel in kernels:
                constraint = kernel.variable.constraint
                if not isinstance(constraint, MaskConstraint):
                    shape = tuple(kernel.variable.shape)
                    constraint = MaskConstraint(np.ones(shape, dtype=bool), constraint)
                    kernel.variable.constraint = constraint
                    self.needs_tracing = True
                self._constraints.append(constraint)
        self.sparsity = _share_of_zeros(self.masks())

    def share_of_zeros(self) -> float:
        """Count the zeros among the weights; return their share."""
        weights = [kernel.variable.value.numpy() for kernel in self.kernels]
        return 1.0 - sum(map(np.count_nonzero, weights)) / sum(w.size for w in weights)

    def prunes_the_same(self, other: "Pruner") -> bool:
        """Tell whether another pruner works on the very same variables, in the same order."""
        ours, theirs = ([id(k.variable) for k in pruner.kernels] for pruner in (self, other))
        return ours == theirs

    def masks(self) -> list[np.ndarray]:
        """Return the masks, one for each kernel."""
        return [constraint.mask.value.numpy() for constraint in self._constraints]

    def update(self, sparsity: float) -> None:
        """Choose new masks at a sparsity from the present weights, and apply them at once.

        Raises:
            ValueError: a kernel holds NaN or infinity.
        """
        weights = [_read(kernel) for kernel in self.kernels]
        masks, thresholds = self._choose(sparsity, weights)
        for constraint, threshold in zip(self._constraints, thresholds, strict=True):
            constraint.threshold = threshold
        self._assign(masks, weights)
        if self._criterion.forgets:
            self.gradients.reset()

    def _choose(self, sparsity, weights):
        """Return for each kernel its mask at a sparsity and the smallest score that is kept."""
        sums = self.gradients.read() if self.gradients else [None] * len(self.kernels)
        scores, sizes = [], []
        for index, kernel in enumerate(self.kernels):
            score = self._criterion.scores(weights[index], index, sums[index])
            if sparsity < self.sparsity:
                score = self._ranked_to_regrow(score, index)
            scores.append(self._pattern.pool(score, kernel.output_axes))
            sizes.append(self._pattern.sizes(score.shape, kernel.output_axes))
        masked = self._allocation.choose(scores, sizes, sparsity)
        masks = [
            self._pattern.spread(~groups, tuple(kernel.variable.shape))
            for kernel, groups in zip(self.kernels, masked, strict=True)
        ]
        kept = [score[~groups].min() for score, groups in zip(scores, masked, strict=True)]
        # Infinite: all that the pattern allows to mask is masked, whatever its score.
        return masks, [float(value) if np.isfinite(value) else None for value in kept]

    def _ranked_to_regrow(self, score, index):
        """Rank equal scores of masked weights at random, so that regrowth is not all in one corner.

        Weights that are zero have magnitudes of zero, which say nothing of which to bring back.
        """
        masked = ~self._constraints[index].mask.value.numpy() & (score == 0)
        draw = np.random.default_rng(index).random(score.shape, dtype=np.float32)
        return np.where(masked, -draw, score)

    def set_masks(self, masks: list[np.ndarray]) -> None:
        """Set the masks and zero the weights outside them now, so that any checkpoint is sparse."""
        self._assign(masks, [kernel.variable.value.numpy() for kernel in self.kernels])

    def open(self) -> None:
        """Let all weights move again; those that are zero stay so until the next step."""
        with self._strategy.scope():
            for constraint in self._constraints:
                constraint.mask.assign(np.ones(constraint.mask.shape, dtype=bool))
                constraint.masked = 0
        self.sparsity = 0.0

    def apply(self) -> None:
        """Zero the weights outside the masks."""
        self.set_masks(self.masks())

    def _assign(self, masks, weights):
        with self._strategy.scope():
            for kernel, constraint, mask, values in zip(
                self.kernels, self._constraints, masks, weights, strict=True
            ):
                # Through `value`, TensorFlow's own variable: several times faster.
                constraint.mask.value.assign(mask)
                constraint.masked = mask.size - int(np.count_nonzero(mask))
                masked = np.where(mask, values, np.zeros((), values.dtype))
                kernel.variable.value.assign(masked.astype(kernel.variable.dtype, copy=False))
        self.sparsity = _share_of_zeros(masks)

    def recover(self, sparsity: float) -> bool:
        """Take the zeros among the weights for masks, if they are what an update would leave.

        Args:
            sparsity: what the schedule asked for when the weights were saved.

        Returns:
            Whether the model holds exactly as many zeros as that update masks, and some.
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


def _share_of_zeros(masks):
    kept = sum(int(np.count_nonzero(mask)) for mask in masks)
    return 1.0 - kept / sum(mask.size for mask in masks)


def _read(kernel):
    """Return a kernel's weights as float32 or wider, checked."""
    weights = kernel.variable.value.numpy()
    weights = weights.astype(np.promote_types(weights.dtype, np.float32), copy=False)
    finite = np.isfinite(weights)
    if not finite.all():
        raise ValueError(
            f"Kernel {kernel.path!r} holds {np.count_nonzero(~finite)} weights that are no finite "
            "numbers, so they cannot be ranked: the training has diverged, or the model was loaded "
            f"from a broken file. Received: {weights[~finite][0]} in shape {weights.shape}"
        )
    return weights


def remove_masks(model: keras.Model) -> None:
    """Take the masks off a model's kernels, so that further training may use every weight.

    The constraints that the user had set stay. There is no need for this before saving or export.

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
