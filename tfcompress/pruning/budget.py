"""From what a user asks of a model's layers to an allocation over its kernels, checked."""

import numbers
from collections.abc import Mapping

import keras
import numpy as np

from tfcompress.keras_graph.custom_kernels import find_every_kernel
from tfcompress.keras_graph.kernels import Kernel
from tfcompress.pruning.allocation import (
    Allocation,
    ErdosRenyiKernel,
    GlobalThreshold,
    PerLayer,
)
from tfcompress.pruning.pattern import Pattern
from tfcompress.pruning.patterns import NofM
from tfcompress.pruning.schedule import Schedule

PerLayerValue = float | Mapping[str, float] | None


def allocate(
    model: keras.Model,
    kernels: list[Kernel],
    pattern: Pattern,
    schedule: Schedule,
    *,
    scope: str = "layer",
    allocation: str = "uniform",
    targets: PerLayerValue = None,
    floors: PerLayerValue = None,
    ceilings: PerLayerValue = None,
) -> Allocation:
    """Decide how the schedule's sparsity is shared out among kernels.

    Args:
        model: the model that ``targets``, ``floors`` and ``ceilings`` select layers of.
        kernels: the kernels to prune.
        pattern: which weights go together.
        schedule: how sparse at which step.
        scope: "layer" to rank the weights of each kernel by themselves, "global" to rank them over
            the whole model.
        allocation: with scope "layer": "uniform" for the same sparsity everywhere, "erk" for the
            Erdos-Renyi-Kernel rule, which leaves small kernels denser.
        targets: with uniform allocation: final sparsities, by regular expression of the layer's
            path, of layers that shall differ from the schedule; the first that matches counts.
        floors: with scope "global": a lowest final sparsity, one number or by layer.
        ceilings: with scope "global": a highest sparsity, one number or by layer.

    Raises:
        TypeError: a per-layer value is no number and no mapping.
        ValueError: a name is unknown, arguments do not go together, a selector matches nothing, a
            sparsity lies outside [0, 1), the pattern does not fit a kernel or the schedule, or
            floors and ceilings leave no way to the final sparsity.
    """
    _check_choice("scope", scope, ("layer", "global"))
    _check_choice("allocation", allocation, ("uniform", "erk"))
    _check_combination(scope, allocation, targets, floors, ceilings)
    for kernel in kernels:
        pattern.check(kernel.path, tuple(kernel.variable.shape), kernel.output_axes)
    final, highest = schedule.final, schedule.highest
    if scope == "global":
        pattern.check_sparsity(final, highest)
        low = per_kernel(model, kernels, "floors", floors, default=0.0)
        high = per_kernel(model, kernels, "ceilings", ceilings, default=1.0)
        _check_bounds(kernels, low, high, highest, final)
        return GlobalThreshold(tuple(low), tuple(high), final)
    if allocation == "erk":
        if isinstance(pattern, NofM):
            raise ValueError(
                "An N:M pattern gives every kernel the same sparsity: use allocation='uniform'. "
                f"Received: allocation='erk', pattern={pattern}"
            )
        return ErdosRenyiKernel(tuple(tuple(kernel.variable.shape) for kernel in kernels))
    wanted = per_kernel(model, kernels, "targets", targets, default=final)
    factors = [target / final if final else 1.0 for target in wanted]
    for kernel, target, factor in zip(kernels, wanted, factors, strict=True):
        pattern.check_sparsity(target, highest * factor)
        if highest * factor >= 1.0:
            raise ValueError(
                f"A target of {target} for kernel {kernel.path!r} scales the schedule's highest "
                f"sparsity, {highest}, to {highest * factor:.4g}, which must stay below 1. Lower "
                f"the peak or the target. Received: targets={targets!r}"
            )
    return PerLayer(tuple(factors))


def per_kernel(
    model: keras.Model, kernels: list[Kernel], name: str, value: PerLayerValue, default: float
) -> list[float]:
    """Return for each kernel the number that a per-layer argument gives it.

    Args:
        model: the model that the selectors refer to.
        kernels: the kernels to prune.
        name: the argument's name, for errors.
        value: a number for all, a mapping from selectors to numbers, or None.
        default: for kernels that no selector matches.

    Raises:
        TypeError: ``value`` is none of these.
        ValueError: a number lies outside [0, 1), or a selector matches no kernel to prune.
    """
    if value is None:
        return [default] * len(kernels)
    if isinstance(value, numbers.Real):
        return [_checked(name, value, value)] * len(kernels)
    if not isinstance(value, Mapping):
        raise TypeError(
            f"`{name}` must be a number or a mapping from regular expressions of layer paths to "
            f"numbers. Received: {name}={value!r} of type {type(value).__name__}"
        )
    chosen: dict[int, float] = {}
    ours = {id(kernel.variable) for kernel in kernels}
    for selector, number in value.items():
        _checked(name, number, value)
        matched = {id(kernel.variable) for kernel in find_every_kernel(model, selector)} & ours
        if not matched:
            raise ValueError(
                f"`{name}` selects no kernel that is pruned with {selector!r}. "
                f"Those are: {', '.join(kernel.path for kernel in kernels)}. "
                f"Received: {name}={value!r}"
            )
        for variable in matched:
            chosen.setdefault(variable, number)
    return [chosen.get(id(kernel.variable), default) for kernel in kernels]


def _checked(name, number, received):
    if not isinstance(number, numbers.Real) or not 0.0 <= number < 1.0:
        raise ValueError(f"`{name}` must lie in [0, 1). Received: {name}={received!r}")
    return number


def _check_choice(name, value, supported):
    if value not in supported:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, supported))}. Received: {name}={value!r}"
        )


def _check_combination(scope, allocation, targets, floors, ceilings):
    if scope == "global" and (allocation != "uniform" or targets is not None):
        raise ValueError(
            "scope='global' shares out the budget by itself, within `floors` and `ceilings`: "
            "`allocation` and `targets` need scope='layer'. "
            f"Received: allocation={allocation!r}, targets={targets!r}"
        )
    if scope == "layer" and (floors is not None or ceilings is not None):
        raise ValueError(
            "`floors` and `ceilings` bound a global threshold and need scope='global'; with "
            f"scope='layer' use `targets`. Received: floors={floors!r}, ceilings={ceilings!r}"
        )
    if allocation == "erk" and targets is not None:
        raise ValueError(
            "`targets` sets the sparsity of layers and allocation='erk' computes it: use one of "
            f"them. Received: targets={targets!r}"
        )


def _check_bounds(kernels, low, high, highest, final):
    for kernel, floor, ceiling in zip(kernels, low, high, strict=True):
        if floor > ceiling:
            raise ValueError(
                f"The floor of kernel {kernel.path!r} lies above its ceiling. "
                f"Received: floor {floor}, ceiling {ceiling}"
            )
    sizes = np.array([kernel.size for kernel in kernels])
    least, most = sizes @ low / sizes.sum(), sizes @ high / sizes.sum()
    if final < least or highest > most:
        raise ValueError(
            f"The floors and ceilings allow overall sparsities from {least:.4g} to {most:.4g}, but "
            f"the schedule ends at {final:.4g} and reaches {highest:.4g}. Loosen them, or change "
            f"the schedule. Received: floors={list(low)}, ceilings={list(high)}"
        )
