"""Pruning a model while ``fit`` trains it."""

import numpy as np

from keras_callbacks.scheduled import ScheduledCallback
from tfcompress.graph.selection import LayerSelector
from tfcompress.pruning.criteria import as_criterion
from tfcompress.pruning.patterns import Element
from tfcompress.pruning.pruner import Pruner, prunable_kernels


class MagnitudePruning(ScheduledCallback):
    """Set the least important weights of a model to zero, more of them as the schedule says.

    The masks are constraints on the model's own variables, applied by the optimizer inside the
    compiled step. There is no wrapper and nothing to strip: the model is the user's own, and
    whatever is saved of it during the training is sparse.

    Args:
        schedule: how sparse at which step; TFMOT's schedule objects are accepted. With
            ``end_step=-1`` the final sparsity is reached when the training ends.
        layers: which layers: a regular expression, a list of names or layers, or a callable; all
            by default.
        pattern: which weights are masked together.
        criterion: which go first: "l1" or "l2".
        prune_depthwise: whether depthwise kernels are pruned too.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: before the first step of ``fit``: the model is not built or has no optimizer,
            ``layers`` matches nothing, a layer is frozen, a kernel holds NaN, two callbacks prune
            one kernel, or the training ends before pruning begins.

    Example:
    >>> pruning = MagnitudePruning(PolynomialDecay(0.0, 0.75, begin_step=100, end_step=1000))
    >>> model.fit(x, y, epochs=10, callbacks=[pruning])
    """

    def __init__(
        self,
        schedule,
        layers: LayerSelector = None,
        pattern=None,
        criterion="l1",
        prune_depthwise=False,
    ):
        super().__init__(schedule)
        self.layers = layers
        self.pattern = Element() if pattern is None else pattern
        self.criterion = as_criterion(criterion)
        self.prune_depthwise = prune_depthwise
        self._pruner = None

    def prepare(self):
        """Put masks on the kernels."""
        kernels = prunable_kernels(self.model, self.layers, self.prune_depthwise)
        self._pruner = Pruner(self.model, kernels, self.pattern, self.criterion)
        if self._pruner.needs_tracing:
            # A step that an earlier fit has compiled does not know the constraints.
            self.model.make_train_function(force=True)
        return {kernel.path for kernel in kernels}

    def update(self, sparsity):
        """Choose new masks."""
        self._pruner.update(sparsity)

    def recover(self, sparsity):
        """Take the zeros of the model for masks, if they are what pruning would have left."""
        return self._pruner.recover(sparsity)

    def sparsity(self):
        """Return the share of masked weights over all kernels that are pruned."""
        return self._pruner.sparsity

    def finish(self):
        """Mask once more: averages of weights, taken at the end of a training, are not sparse."""
        self._pruner.apply()

    def read_state(self):
        """Return the masks, packed to a bit a weight."""
        return {
            f"mask_{index}": np.packbits(mask) for index, mask in enumerate(self._pruner.masks())
        }

    def write_state(self, state):
        """Set the masks."""
        shapes = [tuple(kernel.variable.shape) for kernel in self._pruner.kernels]
        sizes = [int(np.prod(shape)) for shape in shapes]
        packed = [state.get(f"mask_{index}") for index in range(len(shapes))]
        fits = [p is not None and p.size == -(-n // 8) for p, n in zip(packed, sizes, strict=True)]
        if not all(fits) or f"mask_{len(shapes)}" in state:
            raise ValueError(
                "The saved training pruned other kernels than this one. Use the same model and "
                f"`layers=`, or a fresh backup directory. Received: layers={self.layers!r}"
            )
        self._pruner.set_masks(
            [
                np.unpackbits(bits, count=size).reshape(shape).astype(bool)
                for bits, size, shape in zip(packed, sizes, shapes, strict=True)
            ]
        )
