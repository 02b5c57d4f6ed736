"""A real, smaller model: the same inputs and outputs, fewer channels inside."""

import warnings
from collections.abc import Callable, Mapping

import keras

from tfcompress.keras_graph.channels import ChannelFlow, ChannelGroup, read_channels, rebuild
from tfcompress.keras_graph.channels.flow import require_functional
from tfcompress.keras_graph.selection import LayerSelector, select_layers
from tfcompress.keras_graph.wrapper import require_built
from tfcompress.pruning.channels.choice import Choice
from tfcompress.pruning.channels.importance import CRITERIA, Importance
from tfcompress.pruning.channels.reconstruction import reconstruct


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
    data=None,
    reconstruction: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Make a smaller model of a model, with the channels that matter least removed.

    Kernels, biases and normalizations shrink together, through additions, concatenations,
    depthwise and grouped convolutions, nested and shared layers. What cannot be followed stays
    whole; where nothing is removed for that, a warning names the layers. Say how far with one of
    ``ratio``, ``keep`` and the targets.

    Args:
        model: a built Sequential or Functional model; it is left as it is.
        ratio: the share of channels removed from each group that can shrink, in [0, 1).
        keep: what to leave of some layers, by regular expression of their path: a number of
            channels, or a share in (0, 1]. Layers that match none stay whole.
        target_macs: the multiply-accumulate operations of one example to come down to; below 1, a
            share of the model's own.
        target_size: the number of parameters to come down to; below 1, a share of the model's own.
        target_cost: a function from a model to a number, such as a measured latency, and the
            largest number that is accepted.
        criterion: "l1", "l2", "geometric_median", "gamma", "taylor", "lasso", "random", or a
            function; see ``tfcompress.pruning.channels.importance``.
        scope: "layer" for the same share of each group, "global" for the least important channels
            of the whole model.
        layers: the layers whose channels may go; see ``select_layers``. All by default.
        round_to: leave multiples of this many channels: 8 suits int8 kernels on Arm processors and
            the Edge TPU.
        data: for a criterion that needs it, and for ``reconstruction``: some hundred examples,
            with labels for "taylor"; whatever ``fit`` takes.
        reconstruction: fit the layers that lost inputs to what the original computes on ``data``,
            by least squares: most of the accuracy comes back before any training.
        seed: for the criterion "random".

    Returns:
        A new model with the same inputs, outputs and layer names; not compiled.

    Raises:
        ValueError: none or several of the arguments say how far; one is out of its range or cannot
            be reached; ``model`` is subclassed or not built; a selector matches nothing or only
            layers that cannot shrink, such as the output; or a criterion lacks its data.

    Example:
    >>> smaller = tfc.remove_channels(model, target_macs=0.5, round_to=8)
    >>> smaller.compile("adam", loss)
    >>> smaller.fit(x, y)
    """
    require_functional(model)
    require_built(model)
    _require_one(ratio=ratio, keep=keep, target_macs=target_macs, target_size=target_size,
                 target_cost=target_cost)  # fmt: skip
    _check(ratio, criterion, scope, round_to)
    if reconstruction and data is None:
        raise ValueError(
            "`reconstruction` repairs layers on sample inputs: pass `data`, some hundred inputs; "
            "labels are not needed. Received: data=None"
        )
    flow = read_channels(model)
    importance = CRITERIA[criterion] if isinstance(criterion, str) else criterion
    scores = importance(model, flow, data, seed)
    if keep is not None:
        removed = _by_keep(model, flow, scores, keep, round_to)
    else:
        choice = Choice(flow, selected_groups(model, flow, layers), scores, round_to, scope)
        removed = _by_budget(model, choice, ratio, target_macs, target_size, target_cost)
        if ratio and not removed:
            _warn_of_nothing(model, choice, ratio)
    smaller = rebuild(model, flow, removed)
    if reconstruction:
        reconstruct(model, smaller, flow, removed, data)
    return smaller


def _by_budget(model, choice, ratio, target_macs, target_size, target_cost):
    flow = choice.flow
    if ratio is not None:
        return choice.by_share(ratio)
    if target_macs is not None:
        return choice.by_cost(flow.macs, _limit(target_macs, flow.macs()))
    if target_size is not None:
        return choice.by_cost(flow.parameters, _limit(target_size, flow.parameters()))
    measure, limit = target_cost
    return choice.by_cost(lambda bundles: measure(rebuild(model, flow, bundles)), limit)


def _warn_of_nothing(model, choice, ratio):
    if choice.groups:
        sizes = ", ".join(f"{group.paths[0]!r} has {len(group)}" for group in choice.groups[:5])
        why = f"a share of {ratio:g}, rounded to multiples of {choice.round_to}, is none: {sizes}."
    elif choice.flow.unfollowed:
        why = (
            f"none can go. {choice.flow.where_lost()}Write such a layer with Keras layers and "
            "operations that are known, or shrink the model's layers yourself."
        )
    else:
        why = "all of them make its outputs, or reach an operation that needs every one."
    warnings.warn(
        f"`remove_channels` removed no channel of model {model.name!r}: {why}", stacklevel=3
    )


def _limit(target, present):
    return target * present if target < 1 else target


def _require_one(**ways):
    given = {name: value for name, value in ways.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            f"Say how far to shrink with one of {', '.join(ways)}. Received: {given or 'none'}"
        )


def _check(ratio, criterion, scope, round_to):
    if ratio is not None and not 0 <= ratio < 1:
        raise ValueError(
            "`ratio` is the share of channels to remove, in [0, 1): at 1 no layer would have any "
            f"left. Received: ratio={ratio!r}"
        )
    if isinstance(criterion, str) and criterion not in CRITERIA:
        raise ValueError(
            f"`criterion` must be one of {sorted(CRITERIA)} or a function. "
            f"Received: criterion={criterion!r}"
        )
    if scope not in ("layer", "global"):
        raise ValueError(f"`scope` must be 'layer' or 'global'. Received: scope={scope!r}")
    if not (isinstance(round_to, int) and round_to >= 1):
        raise ValueError(f"`round_to` must be an integer from 1. Received: round_to={round_to!r}")


def selected_groups(
    model: keras.Model, flow: ChannelFlow, layers: LayerSelector
) -> tuple[ChannelGroup, ...]:
    """Return the groups that the selected layers make channels of.

    Raises:
        ValueError: there is none.
    """
    if layers is None:
        return flow.groups
    paths = {path for path, _ in select_layers(model, layers)}
    groups = tuple(group for group in flow.groups if paths & set(group.paths))
    if not groups:
        raise ValueError(
            "No selected layer can lose channels: they make the model's outputs, or reach a layer "
            f"that cannot shrink. {flow.where_lost()}Received: layers={layers!r}. "
            f"Layers that can: {_able(flow) or 'none'}"
        )
    return groups


def _by_keep(model, flow, scores, keep, round_to):
    groups, counts = [], []
    for pattern, left in keep.items():
        for group in selected_groups(model, flow, pattern):
            wanted = left * len(group) if isinstance(left, float) else left
            if not 1 <= round(wanted) <= len(group) or group in groups:
                raise ValueError(
                    f"`keep` leaves each layer at least one channel and at most those it has, and "
                    f"names it once. Received: {pattern!r}: {left!r}, where "
                    f"{', '.join(group.paths)} has {len(group)}"
                )
            groups.append(group)
            counts.append(len(group) - round(wanted))
    return Choice(flow, groups, scores, round_to).by_counts(counts)


def _able(flow):
    return ", ".join(path for group in flow.groups for path in group.paths)
