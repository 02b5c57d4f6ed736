"""Pruning a model while ``fit`` trains it."""

import warnings
from typing import Any

import numpy as np

from keras_callbacks.callback import retrace
from keras_callbacks.scheduled import ScheduledCallback
from tfcompress.clustering.weight_clustering import refuse_clustered
from tfcompress.deprecation import renamed_arguments
from tfcompress.keras_graph.custom_kernels import find_all_kernels, find_custom_weights
from tfcompress.keras_graph.selection import (
    LayerSelector,
    frozen_layers,
    output_layers,
    select_layers,
)
from tfcompress.pruning.criteria import L1, Criterion, as_criterion
from tfcompress.pruning.masks import MaskConstraint
from tfcompress.pruning.patterns import Channel, Element, Pattern, as_pattern
from tfcompress.pruning.pruner import Pruner, prunable_kernels
from tfcompress.pruning.sparsity_distribution import PerLayerValue, make_distribution


class MagnitudePruning(ScheduledCallback):
    """Set the least important weights of a model to zero, following a schedule.

    The masks are constraints on the model's own variables, applied by the optimizer inside the
    compiled step. There is no wrapper and nothing to strip: the model is the user's own, and every
    checkpoint saved during training is sparse.

    In custom layers, every trained weight of two or more dimensions that is multiplied with the
    data is a kernel; a warning names those that are not pruned. ``sparsity`` in the logs is the
    fraction of zeros in all trained kernels of the model, including those that ``layers`` or
    ``prune_depthwise`` excludes.

    Args:
        schedule: the target sparsity at each step; TFMOT's schedules are accepted. With
            ``end_step=-1`` the final sparsity is reached when the training ends.
        layers: a regular expression, a list of names or layers, or a callable; all layers by
            default.
        pattern: which weights are masked together: "element", "channel", "2:4" or another N:M, or
            a pattern object such as ``Block((1, 4))``. With "channel", output layers of the model
            are pruned only if ``layers`` names layers.
        criterion: importance of the weights: "l1", "l2", "taylor", "movement", "random", or an
            object.
        scope: "layer" ranks the weights of each kernel separately, "global" over the model.
        sparsity_distribution: with scope "layer": "lamp" for one threshold over the model, of each
            score's share among the larger ones of its kernel, which keeps small kernels and the
            ends of a model denser; "erk" for the Erdos-Renyi-Kernel rule, which keeps small
            kernels denser whatever their weights; "uniform" for the same sparsity everywhere. By
            default "lamp" where single weights are ranked by "l1", and "uniform" for other
            patterns and criteria and with ``layer_sparsity``.
        layer_sparsity: with a uniform distribution, final sparsities by regular expression of the
            layer's path, for layers that differ from the schedule; they follow its course in
            proportion. The first match counts.
        min_sparsity: with scope "global", a lower bound of the final sparsity, a number or by
            layer.
        max_sparsity: with scope "global", an upper bound of the sparsity, a number or by layer.
        prune_depthwise: whether to prune depthwise kernels too. They hold few weights, each of
            which matters much.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: a name is unknown, or a criterion needs gradients before there are any. Before
            the first step of ``fit``: the model is not built or has no optimizer, a selector
            matches nothing, a layer is frozen, a kernel holds NaN, the pattern does not fit a
            kernel or the schedule, arguments exclude each other, two callbacks prune the same
            kernel, a kernel is clustered, or the training ends before pruning begins.

    Example:
    >>> pruning = MagnitudePruning(PolynomialDecay(0.0, 0.75, begin_step=0, end_step=1000))
    >>> model.fit(x, y, epochs=10, callbacks=[pruning])
    """

    pruner_type = Pruner

    @renamed_arguments(
        allocation="sparsity_distribution",
        targets="layer_sparsity",
        floors="min_sparsity",
        ceilings="max_sparsity",
    )
    def __init__(
        self,
        schedule: Any,
        layers: LayerSelector = None,
        pattern: str | tuple[int, ...] | Pattern = "element",
        criterion: str | Criterion = "l1",
        scope: str = "layer",
        *,
        sparsity_distribution: str | None = None,
        layer_sparsity: PerLayerValue = None,
        min_sparsity: PerLayerValue = None,
        max_sparsity: PerLayerValue = None,
        prune_depthwise: bool = False,
    ):
        super().__init__(schedule)
        self.layers = layers
        self.pattern = as_pattern(pattern)
        self.criterion = as_criterion(criterion)
        self.prune_depthwise = prune_depthwise
        if sparsity_distribution is None:
            by_magnitude = isinstance(self.pattern, Element) and isinstance(self.criterion, L1)
            free = by_magnitude and scope == "layer" and layer_sparsity is None
            sparsity_distribution = "lamp" if free else "uniform"
        self._distribution = {
            "scope": scope,
            "sparsity_distribution": sparsity_distribution,
            "layer_sparsity": layer_sparsity,
            "min_sparsity": min_sparsity,
            "max_sparsity": max_sparsity,
        }
        self._pruner = None
        self._unpruned = []  # trained kernels that this callback does not prune
        self._warned = False
        at_once = self.schedule.begin_step == 0 and self.schedule.initial > 0
        if self.criterion.uses_gradients and at_once:
            raise ValueError(
                f"The criterion {self.criterion} ranks weights by gradients, and there are none "
                "before the first batch: set a `begin_step` of at least 1. "
                f"Received: begin_step={self.schedule.begin_step}"
            )

    def prepare(self) -> set[str]:
        """Put masks on the kernels."""
        kernels = self._kernels()
        refuse_clustered(self.model, kernels)
        distribution = make_distribution(
            self.model, kernels, self.pattern, self.schedule, **self._distribution
        )
        previous = self._pruner
        self._pruner = self.pruner_type(
            self.model, kernels, self.pattern, self.criterion, distribution
        )
        if self._pruner.gradients is not None:
            if previous is not None and previous.has_kernels_of(self._pruner):
                self._pruner.gradients.write(previous.gradients.read())
            self._pruner.gradients.attach(self.model.optimizer)
        if self._pruner.needs_tracing:
            # A step that an earlier fit has compiled knows neither constraints nor gradient sums.
            retrace(self.model)
        return {kernel.path for kernel in kernels}

    def _kernels(self):
        """Return the kernels to prune; warn once of weights that are not pruned."""
        kernels = prunable_kernels(self.model, self.layers, self.prune_depthwise)
        frozen = frozen_layers(self.model)
        self._unpruned = [
            kernel
            for kernel in find_all_kernels(self.model)
            if kernel.layer_path not in frozen
            and all(kernel.variable is not ours.variable for ours in kernels)
        ]
        excluded = self._custom_weights()
        if isinstance(self.pattern, Channel) and self.layers is None:
            ends = {id(layer) for layer in output_layers(self.model)}
            inner = [kernel for kernel in kernels if id(kernel.layer) not in ends]
            # In a model of output layers alone, these are what was meant.
            if inner and len(inner) < len(kernels):
                outer = [kernel for kernel in kernels if id(kernel.layer) in ends]
                self._unpruned += outer
                excluded |= {
                    kernel.path: "its channels are the model's outputs; name its layer in "
                    "`layers=` to prune them"
                    for kernel in outer
                }
                kernels = inner
        if excluded and not self._warned:
            self._warned = True
            named = "; ".join(f"{path!r} ({why})" for path, why in excluded.items())
            warnings.warn(f"{type(self).__name__} does not prune {named}.", stacklevel=2)
        return kernels

    def _custom_weights(self):
        """Return the weights of selected custom layers that are not kernels, and why."""
        selected = [path for path, _ in select_layers(self.model, self.layers)]
        return {
            path: why
            for path, why in find_custom_weights(self.model).others.items()
            if any(path.startswith(chosen + "/") for chosen in selected)
        }

    def update(self, sparsity: float, last: bool) -> None:
        """Choose new masks."""
        self._pruner.update(sparsity)

    def hold(self, sparsity: float) -> None:
        """Choose new masks."""
        self._pruner.update(sparsity)

    def mask_again(self) -> float | None:
        """Mask again; averages of weights, taken at the end of a training, are not sparse."""
        found = self._pruner.weight_sparsity()
        self._pruner.apply()
        return found if found < self._pruner.sparsity else None

    def recover(self, sparsity: float) -> bool:
        """Take the zeros of the model as masks if pruning can have left them."""
        return self._pruner.recover(sparsity)

    def sparsity(self) -> float:
        """Return the fraction of masked weights in the pruned kernels."""
        return self._pruner.sparsity

    def sparsity_of_model(self) -> float:
        """Return the fraction of masked weights in all trained kernels."""
        size = sum(kernel.size for kernel in self._pruner.kernels)
        masked = self.sparsity() * size
        for kernel in self._unpruned:
            constraint = kernel.variable.constraint
            masked += constraint.masked if isinstance(constraint, MaskConstraint) else 0
            size += kernel.size
        return masked / size

    def finish(self) -> None:
        """Stop accumulating gradients."""
        if self._pruner.gradients is not None:
            self._pruner.gradients.detach()
            self.model.train_function = None  # the next fit traces a step without the sums

    def read_state(self) -> dict[str, np.ndarray]:
        """Return the masks, packed into bits, and the sums of gradients."""
        masks = {f"mask_{i}": np.packbits(mask) for i, mask in enumerate(self._pruner.masks())}
        sums = self._pruner.gradients.read() if self._pruner.gradients is not None else []
        return {**masks, **{f"gradients_{i}": total for i, total in enumerate(sums)}}

    def write_state(self, state: dict[str, np.ndarray]) -> None:
        """Set the masks and the sums of gradients."""
        shapes = [tuple(kernel.variable.shape) for kernel in self._pruner.kernels]
        sizes = [int(np.prod(shape)) for shape in shapes]
        packed = [state.get(f"mask_{index}") for index in range(len(shapes))]
        fits = [p is not None and p.size == -(-n // 8) for p, n in zip(packed, sizes, strict=True)]
        if not all(fits) or f"mask_{len(shapes)}" in state:
            raise ValueError(
                "The saved training pruned other kernels than this one. Use the same model and "
                f"`layers=`, or a new backup directory. Received: layers={self.layers!r}"
            )
        self._pruner.set_masks(
            [
                np.unpackbits(bits, count=size).reshape(shape).astype(bool)
                for bits, size, shape in zip(packed, sizes, shapes, strict=True)
            ]
        )
        if self._pruner.gradients is not None:
            self._pruner.gradients.write([state[f"gradients_{i}"] for i in range(len(shapes))])
