"""Structured pruning: a smaller model with the same inputs and outputs and fewer channels."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras

from tfcompress.keras_graph.channels import ChannelFlow, ChannelGroup, read_channels, rebuild
from tfcompress.keras_graph.channels.flow import require_functional
from tfcompress.keras_graph.selection import LayerSelector, select_layers
from tfcompress.keras_graph.wrapper import require_built
from tfcompress.pruning.channels.importance import CRITERIA, Importance
from tfcompress.pruning.channels.reconstruction import reconstruct
from tfcompress.pruning.channels.selection import ChannelSelection


def remove_channels(
    model: keras.Model,
    ratio: float | None = None,
    *,
    keep: Mapping[str, int | float] | None = None,
    target_macs: float | None = None,
    target_size: float | None = None,
    target_cost: tuple[Callable[[keras.Model], float], float] | None = None,
    criterion: str | Importance = "l1",
    scope: str = "layer",
    layers: LayerSelector = None,
    round_to: int = 1,
    data: Any = None,
    reconstruction: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Make a smaller model by removing the least important channels.

    Kernels, biases and normalizations shrink together, through additions, concatenations,
    depthwise and grouped convolutions, nested and shared layers. Layers whose channels cannot be
    followed stay whole; if nothing can be removed, a warning names them. Pass one of ``ratio``,
    ``keep`` and the targets.

    Args:
        model: a built Sequential or Functional model; it is not changed.
        ratio: fraction of channels to remove from each group that can shrink, in [0, 1).
        keep: what to keep of some layers, by regular expression of their path: a number of
            channels, or a fraction in (0, 1]. Layers that match none stay whole.
        target_macs: the multiply-accumulate operations per example to reach; below 1, a fraction
            of the model's own.
        target_size: the number of parameters to reach; below 1, a fraction of the model's own.
        target_cost: a function from a model to a number, such as a measured latency, and the
            largest number to accept.
        criterion: "l1", "l2", "geometric_median", "gamma", "taylor", "lasso", "random", or a
            function; see ``tfcompress.pruning.channels.importance``.
        scope: "layer" for the same ratio in each group, "global" for the least important channels
            of the whole model.
        layers: the layers whose channels may be removed; see ``select_layers``. All by default.
        round_to: keep multiples of this many channels: 8 suits int8 kernels on Arm processors and
            the Edge TPU.
        data: examples for ``reconstruction`` and for criteria that need them, a few hundred in any
            form that ``fit`` accepts; "taylor" needs labels.
        reconstruction: fit the layers that lost inputs to the outputs of the original on ``data``
            by least squares, which restores most of the accuracy before any training.
        seed: seed of the criterion "random".

    Returns:
        A new model with the same inputs, outputs and layer names; not compiled.

    Raises:
        ValueError: none or several of ``ratio``, ``keep`` and the targets are given; an argument is
            out of range or a target cannot be reached; ``model`` is subclassed or not built;
            a selector matches nothing, or only layers that cannot shrink, such as the output; or a
            criterion lacks its data.

    Example:
    >>> smaller = tfc.remove_channels(model, target_macs=0.5, round_to=8)
    >>> smaller.compile("adam", loss)
    >>> smaller.fit(x, y)
    """
    require_functional(model)
    require_built(model)
    name, budget = the_one_of(ratio=ratio, keep=keep, target_macs=target_macs,
                              target_size=target_size, target_cost=target_cost)  # fmt: skip
    _check(ratio, criterion, scope, round_to)
    if reconstruction and data is None:
        raise ValueError(
            "`reconstruction` requires sample inputs: pass `data`, a few hundred inputs; labels "
            "are not needed. Received: data=None"
        )
    flow = read_channels(model)
    importance = CRITERIA[criterion] if isinstance(criterion, str) else criterion
    scores = importance(model, flow, data, seed)
    if keep is not None:
        removed = _by_keep(model, flow, scores, keep, round_to)
    else:
        groups = selected_groups(model, flow, layers)
        selection = ChannelSelection(flow, groups, scores, round_to, scope)
        removed = _by_budget(model, selection, name, budget)
        if ratio and not removed:
            _warn_of_nothing(model, selection, ratio)
    smaller = rebuild(model, flow, removed)
    if reconstruction:
        reconstruct(model, smaller, flow, removed, data)
    return smaller


def _by_budget(model, selection, name, budget):
    """Return what to remove for the one budget that is given."""
    flow = selection.flow
    if name == "ratio":
        return selection.by_ratio(budget)
    if name == "target_cost":
        measure, limit = budget
        return selection.by_cost(lambda removed: measure(rebuild(model, flow, removed)), limit)
    cost = flow.macs if name == "target_macs" else flow.parameters
    return selection.by_cost(cost, absolute(budget, cost()))


def _warn_of_nothing(model, selection, ratio):
    """Warn that no channel was removed, with the reason."""
    flow = selection.flow
    if selection.groups:
        sizes = ", ".join(f"{group.paths[0]!r} has {len(group)}" for group in selection.groups[:5])
        why = (
            f"ratio={ratio:g}, rounded to multiples of {selection.round_to}, is less than one "
            f"channel: {sizes}."
        )
    elif flow.unfollowed:
        why = (
            f"no channel can be removed. {flow.describe_unfollowed()}Write such a layer with Keras "
            "layers and operations, or shrink the model's layers yourself."
        )
    else:
        why = "all channels are outputs of the model, or reach an operation that needs every one."
    warnings.warn(
        f"`remove_channels` removed no channel of model {model.name!r}: {why}", stacklevel=3
    )


def absolute(target, present):
    """Return an absolute limit; targets below 1 are fractions."""
    return target * present if target < 1 else target


def the_one_of(**budgets) -> tuple[str, Any]:
    """Return the name and the value of the one argument that is given."""
    given = {name: value for name, value in budgets.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            f"Pass exactly one of {', '.join(budgets)}. Received: {given or 'none of them'}"
        )
    return next(iter(given.items()))


def _check(ratio, criterion, scope, round_to):
    """Raise ValueError for arguments out of range."""
    if ratio is not None and not 0 <= ratio < 1:
        raise ValueError(
            "`ratio` is the fraction of channels to remove and must lie in [0, 1): at 1 no layer "
            f"would have any channel left. Received: ratio={ratio!r}"
        )
    if isinstance(criterion, str) and criterion not in CRITERIA:
        raise ValueError(
            f"`criterion` must be one of {sorted(CRITERIA)} or a function. "
            f"Received: criterion={criterion!r}"
        )
    if scope not in ("layer", "global"):
        raise ValueError(f"`scope` must be 'layer' or 'global'. Received: scope={scope!r}")
    if not (isinstance(round_to, int) and round_to >= 1):
        raise ValueError(
            f"`round_to` must be an integer of at least 1. Received: round_to={round_to!r}"
        )


def selected_groups(
    model: keras.Model, flow: ChannelFlow, layers: LayerSelector
) -> tuple[ChannelGroup, ...]:
    """Return the groups of channels that the selected layers produce, at least one."""
    if layers is None:
        return flow.groups
    paths = {path for path, _ in select_layers(model, layers)}
    groups = tuple(group for group in flow.groups if paths & set(group.paths))
    if not groups:
        removable = ", ".join(path for group in flow.groups for path in group.paths)
        raise ValueError(
            "No selected layer can lose channels: their channels are the model's outputs, or reach "
            f"a layer that cannot shrink. {flow.describe_unfollowed()}Layers that can lose "
            f"channels: {removable or 'none'}. Received: layers={layers!r}"
        )
    return groups


def _by_keep(model, flow, scores, keep, round_to):
    """Return what to remove so that layers keep so many channels."""
    groups, counts = [], []
    for pattern, left in keep.items():
        for group in selected_groups(model, flow, pattern):
            wanted = left * len(group) if isinstance(left, float) else left
            if not 1 <= round(wanted) <= len(group) or group in groups:
                raise ValueError(
                    "`keep` must keep at least one channel of a layer, at most as many as it has, "
                    f"and name each layer once. Received: {pattern!r}: {left!r}, where "
                    f"{', '.join(group.paths)} has {len(group)}"
                )
            groups.append(group)
            counts.append(len(group) - round(wanted))
    return ChannelSelection(flow, groups, scores, round_to).by_counts(counts)
