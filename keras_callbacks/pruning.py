"""Pruning a model while ``fit`` trains it."""

import warnings

import numpy as np

from keras_callbacks.callback import retrace
from keras_callbacks.scheduled import ScheduledCallback
from tfcompress.clustering.clusterable import refuse_clustered
from tfcompress.keras_graph.custom_kernels import find_every_kernel, find_own_weights
from tfcompress.keras_graph.selection import (
    LayerSelector,
    frozen_layers,
    output_layers,
    select_layers,
)
from tfcompress.pruning.budget import PerLayerValue, allocate
from tfcompress.pruning.criteria import as_criterion
from tfcompress.pruning.masks import MaskConstraint
from tfcompress.pruning.patterns import Channel, as_pattern
from tfcompress.pruning.pruner import Pruner, prunable_kernels


class MagnitudePruning(ScheduledCallback):
    """Set the least important weights of a model to zero, more of them as the schedule says.

    The masks are constraints on the model's own variables, applied by the optimizer inside the
    compiled step. There is no wrapper and nothing to strip: the model is the user's own, and
    whatever is saved of it during the training is sparse.

    In layers of one's own, every trained weight of two or more dimensions that the data are
    multiplied with is a kernel; a warning names those that are left out. ``sparsity`` in the logs
    is the share of zeros over all kernels of the model that are trained, those that are left out
    by ``layers`` or as depthwise ones included.

    Args:
        schedule: how sparse at which step; TFMOT's schedule objects are accepted. With
            ``end_step=-1`` the final sparsity is reached when the training ends.
        layers: which layers: a regular expression, a list of names or layers, or a callable; all
            by default.
        pattern: which weights are masked together: "element", "channel", "2:4" or another N:M, or
            a pattern object such as ``Block((1, 4))``. Whole channels of the layers that make the
            model's outputs go only where ``layers`` names layers.
        criterion: which go first: "l1", "l2", "taylor", "movement", "random", or an object.
        scope: "layer" ranks the weights of each kernel by themselves, "global" over the model.
        allocation: with scope "layer": "uniform" for the same sparsity everywhere, "erk" for the
            Erdos-Renyi-Kernel rule, which leaves small kernels denser.
        targets: with uniform allocation, final sparsities by regular expression of the layer's
            path, for layers that shall differ from the schedule; they follow its course in
            proportion. The first match counts.
        floors: with scope "global", a lowest final sparsity, one number or by layer.
        ceilings: with scope "global", a highest sparsity, one number or by layer.
        prune_depthwise: whether depthwise kernels are pruned too. They hold few weights, each of
            which matters much, so they are left alone unless asked for.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: a name is unknown, or a criterion needs gradients before there are any. Before
            the first step of ``fit``: the model is not built or has no optimizer, a selector
            matches nothing, a layer is frozen, a kernel holds NaN, the pattern does not fit a
            kernel or the schedule, arguments do not go together, two callbacks prune one kernel,
            a kernel is clustered already, or the training ends before pruning begins.

    Example:
    >>> pruning = MagnitudePruning(PolynomialDecay(0.0, 0.75, begin_step=0, end_step=1000))
    >>> model.fit(x, y, epochs=10, callbacks=[pruning])
    """

    pruner_type = Pruner

    def __init__(
        self,
        schedule,
        layers: LayerSelector = None,
        pattern="element",
        criterion="l1",
        scope="layer",
        *,
        allocation="uniform",
        targets: PerLayerValue = None,
        floors: PerLayerValue = None,
        ceilings: PerLayerValue = None,
        prune_depthwise=False,
    ):
        super().__init__(schedule)
        self.layers = layers
        self.pattern = as_pattern(pattern)
        self.criterion = as_criterion(criterion)
        self.prune_depthwise = prune_depthwise
        self._budget = {
            "scope": scope,
            "allocation": allocation,
            "targets": targets,
            "floors": floors,
            "ceilings": ceilings,
        }
        self._pruner = None
        self._rest = []  # trained kernels that this callback leaves alone
        self._told = False
        at_once = self.schedule.begin_step == 0 and self.schedule.initial > 0
        if self.criterion.uses_gradients and at_once:
            raise ValueError(
                f"The criterion {self.criterion} ranks weights by gradients, and there are none "
                "before the first batch: let the schedule begin later. "
                f"Received: begin_step={self.schedule.begin_step}"
            )

    def prepare(self):
        """Put masks on the kernels."""
        kernels = self._kernels()
        refuse_clustered(self.model, kernels)
        allocation = allocate(self.model, kernels, self.pattern, self.schedule, **self._budget)
        previous = self._pruner
        self._pruner = self.pruner_type(
            self.model, kernels, self.pattern, self.criterion, allocation
        )
        if self._pruner.gradients is not None:
            if previous is not None and previous.prunes_the_same(self._pruner):
                self._pruner.gradients.write(previous.gradients.read())
            self._pruner.gradients.attach(self.model.optimizer)
        if self._pruner.needs_tracing:
            # A step that an earlier fit has compiled knows neither constraints nor gradient sums.
            retrace(self.model)
        return {kernel.path for kernel in kernels}

    def _kernels(self):
        """Return the kernels to prune; say once which weights are left out."""
        kernels = prunable_kernels(self.model, self.layers, self.prune_depthwise)
        frozen = frozen_layers(self.model)
        self._rest = [
            kernel
            for kernel in find_every_kernel(self.model)
            if kernel.layer_path not in frozen
            and all(kernel.variable is not ours.variable for ours in kernels)
        ]
        left_out = _unpruned_of_ones_own(self.model, self.layers)
        if isinstance(self.pattern, Channel) and self.layers is None:
            ends = {id(layer) for layer in output_layers(self.model)}
            inner = [kernel for kernel in kernels if id(kernel.layer) not in ends]
            # In a model of output layers alone, these are what was meant.
            if inner and len(inner) < len(kernels):
                outer = [kernel for kernel in kernels if id(kernel.layer) in ends]
                self._rest += outer
                left_out |= {
                    kernel.path: "its channels are the model's outputs; name its layer in "
                    "`layers=` to prune them"
                    for kernel in outer
                }
                kernels = inner
        if left_out and not self._told:
            self._told = True
            named = "; ".join(f"{path!r} ({why})" for path, why in left_out.items())
            warnings.warn(f"{type(self).__name__} does not prune {named}.", stacklevel=2)
        return kernels

    def update(self, sparsity, last):
        """Choose new masks."""
        self._pruner.update(sparsity)

    def hold(self, sparsity):
        """Choose masks once more."""
        self._pruner.update(sparsity)

    def mask_again(self):
        """Mask once more; averages of weights, taken at the end of a training, are not sparse."""
        found = self._pruner.share_of_zeros()
        self._pruner.apply()
        return found if found < self._pruner.sparsity else None

    def recover(self, sparsity):
        """Take the zeros of the model for masks, if they are what pruning would have left."""
        return self._pruner.recover(sparsity)

    def sparsity(self):
        """Return the share of masked weights over all kernels that are pruned."""
        return self._pruner.sparsity

    def sparsity_of_model(self):
        """Return the share of masked weights over all kernels that are trained, pruned or not."""
        ours = sum(kernel.size for kernel in self._pruner.kernels)
        masked, size = self.sparsity() * ours, ours
        for kernel in self._rest:
            constraint = kernel.variable.constraint
            masked += constraint.masked if isinstance(constraint, MaskConstraint) else 0
            size += kernel.size
        return masked / size

    def finish(self):
        """Sum up no more gradients."""
        if self._pruner.gradients is not None:
            self._pruner.gradients.detach()
            self.model.train_function = None  # the next fit traces a step that does not add up

    def read_state(self):
        """Return the masks, packed to a bit a weight, and the sums of gradients."""
        masks = {f"mask_{i}": np.packbits(mask) for i, mask in enumerate(self._pruner.masks())}
        sums = self._pruner.gradients.read() if self._pruner.gradients is not None else []
        return {**masks, **{f"gradients_{i}": total for i, total in enumerate(sums)}}

    def write_state(self, state):
        """Set the masks and the sums of gradients."""
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
        if self._pruner.gradients is not None:
            self._pruner.gradients.write([state[f"gradients_{i}"] for i in range(len(shapes))])


def _unpruned_of_ones_own(model, layers):
    """Return the weights of selected layers of one's own that are no kernels, and why."""
    selected = [path for path, _ in select_layers(model, layers)]
    return {
        path: why
        for path, why in find_own_weights(model).others.items()
        if any(path.startswith(chosen + "/") for chosen in selected)
    }
