"""Sparse optimization: weights compete for their positions instead of being masked for good.

Until the last update of the schedule every weight may return; from then on masks keep the exact
final sparsity, and the rest of the training fine-tunes the remaining weights.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_callbacks.callback import retrace
from keras_callbacks.pruning import MagnitudePruning
from tfcompress.backends import variable_scope
from tfcompress.compat.keras_steps import carry_in_loss, drop_from_loss
from tfcompress.keras_graph.kernels import Kernel
from tfcompress.keras_graph.selection import LayerSelector
from tfcompress.pruning.patterns import Channel, Pattern
from tfcompress.pruning.sparse_optimization import (
    SoftThreshold,
    SparsityRegularizer,
    next_strength,
    root_mean_square,
)


class IterativeHardThresholding(MagnitudePruning):
    """Project the weights onto the sparse ones every few steps, and train them all in between.

    At each update of the schedule the smallest weights are set to zero, then trained like the
    others: an important one grows back. With ``frequency=1`` this is the textbook method. Files
    saved between two updates are not sparse; those saved after the last one are.

    Args:
        schedule: when to project, and to what sparsity.
        layers: a regular expression, a list of names or layers, or a callable; all by default.
        pattern: which weights are masked together; see ``MagnitudePruning``.
        prune_depthwise: whether depthwise kernels take part.

    Raises:
        TypeError: see ``MagnitudePruning``.
        ValueError: see ``MagnitudePruning``.

    Example:
    >>> iht = IterativeHardThresholding(ConstantSparsity(0.9, 0, end_step=800, frequency=20))
    >>> model.fit(x, y, epochs=10, callbacks=[iht])

    Sources: Blumensath and Davies, "Iterative hard thresholding for compressed sensing", 2009; Jin
    et al., "Training skinny deep neural networks with iterative hard thresholding", 2016.
    """

    def __init__(
        self,
        schedule: Any,
        layers: LayerSelector = None,
        pattern: str | tuple[int, ...] | Pattern = "element",
        *,
        prune_depthwise: bool = False,
    ):
        super().__init__(
            schedule,
            layers,
            pattern,
            sparsity_distribution="uniform",
            prune_depthwise=prune_depthwise,
        )
        self._projected = 0.0

    def update(self, sparsity: float, last: bool) -> None:
        """Project; keep the masks after the last update."""
        super().update(sparsity, last)
        self._projected = super().sparsity()
        if not last:
            self._pruner.open()

    def hold(self, sparsity: float) -> None:
        """Project."""
        self.update(sparsity, last=False)

    def sparsity(self) -> float:
        """Return the sparsity at the last projection."""
        return self._projected


class _PenalizedPruning(MagnitudePruning):
    """A penalty whose strength is adapted to the sparsity found; exact masks at the end."""

    def __init__(
        self,
        schedule: Any,
        layers: LayerSelector,
        pattern: str | tuple[int, ...] | Pattern,
        initial_strength: float,
        gain: float,
        prune_depthwise: bool,
    ):
        super().__init__(
            schedule,
            layers,
            pattern,
            sparsity_distribution="uniform",
            prune_depthwise=prune_depthwise,
        )
        for name, value in (("initial_strength", initial_strength), ("gain", gain)):
            if not value > 0:
                raise ValueError(f"`{name}` must be positive. Received: {name}={value!r}")
        self._initial_strength = initial_strength
        self._gain = gain
        self.strength: float | None = None  # of the penalty; None before training
        self._strength = None  # the same as a variable
        self._found = 0.0

    def prepare(self) -> set[str]:
        """Add the penalty to the kernels."""
        paths = super().prepare()
        if self._strength is None:
            with variable_scope(self.model):
                self._strength = keras.Variable(
                    self._initial_strength, dtype="float32", trainable=False, name="strength"
                )
            self.strength = self._initial_strength
        for kernel in self._pruner.kernels:
            self.add_penalty(kernel)
        retrace(self.model)
        return paths

    def add_penalty(self, kernel: Kernel) -> None:
        """Add the penalty to one kernel."""
        raise NotImplementedError

    def remove_penalty(self, kernel: Kernel) -> None:
        """Remove the penalty from one kernel."""
        raise NotImplementedError

    def found(self) -> float:
        """Return the fraction of weights that the penalty has brought to zero."""
        raise NotImplementedError

    def update(self, sparsity: float, last: bool) -> None:
        """Adapt the strength; at the end, replace the penalty by exact masks."""
        self._found = self.found()
        if last:
            super().update(sparsity, last)
            self._set_strength(0.0)
        else:
            self._set_strength(next_strength(self.strength, self._found, sparsity, self._gain))

    def hold(self, sparsity: float) -> None:
        """Zero the smallest weights, but let them train again in a later `fit`."""
        super().update(sparsity, last=False)
        self._found = self._pruner.sparsity
        self._pruner.open()

    def _set_strength(self, value):
        """Set the strength of the penalty."""
        with variable_scope(self.model):
            self._strength.assign(value)
        self.strength = float(value)

    def sparsity(self) -> float:
        """Return the sparsity found at the last update; after the end, that of the masks."""
        return self._pruner.sparsity or self._found

    def finish(self) -> None:
        """Remove the penalty; the masks stay."""
        super().finish()
        for kernel in self._pruner.kernels:
            self.remove_penalty(kernel)
        self.model.train_function = None  # the next fit traces a step without the penalty

    def read_state(self) -> dict[str, np.ndarray]:
        """Return the masks and the strength."""
        return {**super().read_state(), "strength": np.float32(self.strength)}

    def write_state(self, state: dict[str, np.ndarray]) -> None:
        """Set the masks and the strength."""
        self._set_strength(state.pop("strength"))
        super().write_state(state)


class ProximalL1(_PenalizedPruning):
    """Minimize the loss plus an L1 norm by proximal gradient descent (ISTA), to a target sparsity.

    After each optimizer step, inside the compiled step, every weight moves towards zero by
    ``strength * learning_rate``; those that reach it are exactly zero. Each update of the schedule
    raises the strength if the model is less sparse than the schedule asks, and lowers it if it is
    sparser. At the last update exact masks replace the penalty.

    Args:
        schedule: the target sparsity at each step, and how often to adapt the strength.
        layers: a regular expression, a list of names or layers, or a callable; all by default.
        initial_strength: the initial weight of the L1 norm.
        gain: how fast the strength reacts: a miss of 0.1 changes it by a factor exp(gain / 10).
        prune_depthwise: whether depthwise kernels take part.

    Raises:
        TypeError: see ``MagnitudePruning``.
        ValueError: see ``MagnitudePruning``; also if a strength or gain is not positive.

    Example:
    >>> ista = ProximalL1(PolynomialDecay(0.0, 0.9, 0, end_step=800, frequency=10))
    >>> model.fit(x, y, epochs=10, callbacks=[ista])

    Sources: Daubechies, Defrise and De Mol, 2004; Beck and Teboulle, "A fast iterative
    shrinkage-thresholding algorithm", 2009.
    """

    def __init__(
        self,
        schedule: Any,
        layers: LayerSelector = None,
        initial_strength: float = 0.01,
        gain: float = 2.0,
        *,
        prune_depthwise: bool = False,
    ):
        super().__init__(schedule, layers, "element", initial_strength, gain, prune_depthwise)

    def add_penalty(self, kernel: Kernel) -> None:
        """Shrink before masking."""
        mask = kernel.variable.constraint
        mask.constraint = SoftThreshold(self._strength, self.model.optimizer, mask.constraint)

    def remove_penalty(self, kernel: Kernel) -> None:
        """Restore the user's own constraint inside the mask."""
        mask = kernel.variable.constraint
        mask.constraint = mask.constraint.constraint

    def found(self) -> float:
        """Return the fraction of exact zeros."""
        return self._pruner.weight_sparsity()


class SparsityRegularization(_PenalizedPruning):
    """Add an L1 or group-L1 penalty on the kernels, adapted to a target sparsity.

    The penalty is part of the loss. Gradient steps bring weights close to zero but not onto it, so
    that weights within a tolerance count as zero. At the last update exact masks replace the
    penalty.

    Args:
        schedule: the target sparsity at each step, and how often to adapt the strength.
        layers: a regular expression, a list of names or layers, or a callable; all by default.
        groups: "element" for an L1 penalty on single weights, "channel" for a group-L1 penalty that
            brings whole output channels to zero.
        initial_strength: the initial weight of the penalty.
        gain: how fast the strength reacts: a miss of 0.1 changes it by a factor exp(gain / 10).
            Weights follow slowly: a high gain overshoots, and a strong penalty diverges.
        tolerance: what counts as zero, relative to the root mean square of the kernel's weights at
            the start of the training.
        prune_depthwise: whether depthwise kernels take part.

    Raises:
        TypeError: see ``MagnitudePruning``.
        ValueError: see ``MagnitudePruning``; also if ``groups`` is unknown, or a strength, gain or
            tolerance is not positive.

    Example:
    >>> lasso = SparsityRegularization(PolynomialDecay(0.0, 0.5, 0, 800), groups="channel")
    >>> model.fit(x, y, epochs=10, callbacks=[lasso])

    Sources: Tibshirani, 1996; Wen et al., "Learning structured sparsity in deep neural networks",
    2016.
    """

    def __init__(
        self,
        schedule: Any,
        layers: LayerSelector = None,
        groups: str = "element",
        initial_strength: float = 1e-3,
        gain: float = 0.5,
        *,
        tolerance: float = 0.05,
        prune_depthwise: bool = False,
    ):
        if groups not in ("element", "channel"):
            raise ValueError(
                f'`groups` must be "element" or "channel". Received: groups={groups!r}'
            )
        if not tolerance > 0:
            raise ValueError(f"`tolerance` must be positive. Received: tolerance={tolerance!r}")
        super().__init__(schedule, layers, groups, initial_strength, gain, prune_depthwise)
        self._tolerance = tolerance
        self._scales = None  # root mean square of each kernel when the training began

    def prepare(self) -> set[str]:
        """Add the penalty to the kernels, and measure how large their weights are."""
        paths = super().prepare()
        drop_from_loss(self.model, self._strength)  # an interrupted training left it there
        carry_in_loss(self.model, self._strength)
        if self._scales is None:
            kernels = [ops.convert_to_numpy(kernel.variable) for kernel in self._pruner.kernels]
            self._scales = np.array([root_mean_square(kernel) for kernel in kernels])
        return paths

    def finish(self) -> None:
        """Remove the penalty from the loss."""
        super().finish()
        drop_from_loss(self.model, self._strength)

    def add_penalty(self, kernel: Kernel) -> None:
        """Add the penalty to the loss."""
        axes = None
        if isinstance(self.pattern, Channel):
            rank = len(kernel.variable.shape)
            axes = tuple(axis for axis in range(rank) if axis not in kernel.output_axes)
        kernel.variable.regularizer = SparsityRegularizer(
            self._strength, axes, kernel.variable.regularizer
        )

    def remove_penalty(self, kernel: Kernel) -> None:
        """Restore the user's own regularizer."""
        kernel.variable.regularizer = kernel.variable.regularizer.regularizer

    def found(self) -> float:
        """Return the fraction of weights in groups close to zero."""
        near, total = 0.0, 0
        for kernel, scale in zip(self._pruner.kernels, self._scales, strict=True):
            square = np.square(ops.convert_to_numpy(kernel.variable))
            groups = np.sqrt(self.pattern.pool(square, kernel.output_axes))
            near += np.mean(groups <= self._tolerance * scale) * kernel.size
            total += kernel.size
        return float(near / total)

    def read_state(self) -> dict[str, np.ndarray]:
        """Return the masks, the strength and the scales."""
        return {**super().read_state(), "scales": self._scales}

    def write_state(self, state: dict[str, np.ndarray]) -> None:
        """Set the masks, the strength and the scales."""
        self._scales = state.pop("scales")
        super().write_state(state)
