"""Where training rounds a model: the quantization points, as data that is saved with it."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

import keras

from tfcompress.keras_graph.hooks import HookPoint
from tfcompress.keras_graph.inner_tensors import is_inner_role
from tfcompress.keras_graph.selection import walk_layers
from tfcompress.quantization.planning import Fixed, Plan
from tfcompress.tflite.model import Subgraph


class PlacementError(ValueError):
    """Layers of a model cannot be given the ranges that integer arithmetic needs."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a model's ranges belong."""

    # Points whose range is learned in training, in the order of the model.
    learned: tuple[HookPoint, ...]
    # Points whose range the operation defines, as (point, (smallest, largest)) pairs.
    fixed: tuple[tuple[HookPoint, tuple[float, float]], ...]
    # Points that have the range of a learned point, as (point, learned point) pairs: what enters a
    # concatenation has one scale with what leaves it.
    shared: tuple[tuple[HookPoint, HookPoint], ...] = ()
    # Paths of layers that are fused with one that computes in float.
    beside_float: tuple[str, ...] = ()
    # Types of TensorFlow operations that are lowered, see ``rewritings``.
    rewritten: tuple[str, ...] = ()
    # Points of scores that may be masked, as (point, margin) pairs, see ``score_margins``.
    scores: tuple[tuple[HookPoint, float], ...] = ()
    # Points of probabilities that only leave the model: a loss gets them unrounded.
    probabilities: tuple[HookPoint, ...] = ()
    # Kernels rounded to one grid once a BatchNormalization has scaled their channels, as (path of
    # the kernel, path of the layer) pairs; "" if something else scales them.
    scaled: tuple[tuple[str, str], ...] = ()

    def rows(self) -> dict[HookPoint, int]:
        """Number the ranges that are learned, by each point that has one of them.

        Example:
        >>> Placement((HookPoint("a"),), (), ((HookPoint("b"), HookPoint("a")),)).rows()
        {HookPoint(path='a', ...): 0, HookPoint(path='b', ...): 0}
        """
        rows = {point: row for row, point in enumerate(self.learned)}
        return rows | {point: rows[owner] for point, owner in self.shared}

    def rows_of_plan(self, plan: Plan, points: Mapping[int, HookPoint]) -> tuple[int, ...]:
        """Tell the row of the ranges for each row of a plan; -1 where no point has one."""
        rows = self.rows()
        return tuple(
            next((rows[points[i]] for i in members if points.get(i) in rows), -1)
            for members in plan.rows
        )

    def needs_graph(self) -> bool:
        """Tell whether a point lies inside a call, where tensors are seen in graphs alone."""
        points = [*self.rows(), *(point for point, _ in self.fixed)]
        return any(is_inner_role(point.role) for point in points)

    def get_config(self) -> dict:
        """Return the placement as plain data."""
        return {
            "learned": [dataclasses.astuple(point) for point in self.learned],
            "fixed": [[dataclasses.astuple(point), list(ends)] for point, ends in self.fixed],
            "shared": [[dataclasses.astuple(point) for point in pair] for pair in self.shared],
            "beside_float": list(self.beside_float),
            "rewritten": list(self.rewritten),
            "scores": [[dataclasses.astuple(point), margin] for point, margin in self.scores],
            "probabilities": [dataclasses.astuple(point) for point in self.probabilities],
            "scaled": [list(pair) for pair in self.scaled],
        }

    @classmethod
    def from_config(cls, config: dict) -> "Placement":
        """Build a placement from ``get_config``'s data, of this version or an earlier one."""
        learned = config["learnt"] if "learnt" in config else config["learned"]
        return cls(
            tuple(HookPoint(*point) for point in learned),
            tuple((HookPoint(*point), tuple(ends)) for point, ends in config["fixed"]),
            tuple((HookPoint(*p), HookPoint(*owner)) for p, owner in config.get("shared", ())),
            tuple(config.get("beside_float", ())),
            tuple(config.get("rewritten", ())),
            tuple((HookPoint(*point), margin) for point, margin in config.get("scores", ())),
            tuple(HookPoint(*point) for point in config.get("probabilities", ())),
            tuple((kernel, layer) for kernel, layer in config.get("scaled", ())),
        )


def require_in_sight(model: keras.Model, placement: Placement, seen: Collection[HookPoint]) -> None:
    """Raise a PlacementError that names layers that another backend than TensorFlow cannot round.

    Their tensors lie between operations inside a call, which TensorFlow's graphs alone show.
    ``seen`` are the points that a run of the model hands out.
    """
    points = [*placement.rows(), *(point for point, _ in placement.fixed)]
    hidden = [point.path for point in points if point not in seen]
    hidden += [path.rpartition("/")[0] for path, layer in placement.scaled if not layer]
    if hidden:
        raise PlacementError(
            f"Model {model.name!r} has layers that store tensors inside their calls, which Keras "
            f"shows on TensorFlow alone: {', '.join(dict.fromkeys(hidden))}. Train this model "
            "quantization-aware under KERAS_BACKEND=tensorflow, or leave these layers in float: "
            "`layers=` lists the others, `allow_float=` these. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )


def place_points(
    model: keras.Model,
    file: Subgraph,
    plan: Plan,
    points: Mapping[int, HookPoint],
    repeats: Mapping[HookPoint, HookPoint],
    beside_float: Sequence[str],
    rewritten: Sequence[str],
) -> Placement:
    """Turn the points of a file's tensors into the places where training rounds.

    ``repeats`` gives, for points whose tensor the file computes once for another point, that point.
    """
    learned: dict[HookPoint, None] = {}
    fixed: dict[HookPoint, tuple[float, float]] = {}
    for index in [*file.inputs, *(i for o in file.operations for i in o.outputs)]:
        if index in points and isinstance(numbers := plan.tensors[index], Fixed):
            ends = (-128, 127) if plan.dtype == "INT8" else (-32767, 32767)
            smallest, largest = (numbers.scale * (end - numbers.zero_point) for end in ends)
            fixed[points[index]] = smallest, largest
        elif index in points:
            learned[points[index]] = None
    groups = [[points[i] for i in members if i in points] for members in plan.rows]
    fixed.update((point, fixed[first]) for point, first in repeats.items() if first in fixed)
    pairs = [(point, first) for point, first in repeats.items() if first in learned]
    learned.update((point, None) for point, _ in pairs)
    shared = share_ranges(learned, [*groups, *_steps_of_cells(model, learned), *pairs])
    owners = tuple(point for point in learned if point not in shared)
    beside = tuple(beside_float), tuple(rewritten)
    return Placement(owners, tuple(fixed.items()), tuple(shared.items()), *beside)


def share_ranges(
    learned: Iterable[HookPoint], groups: Iterable[Collection[HookPoint]]
) -> dict[HookPoint, HookPoint]:
    """Let points that need equal scales share one range: that of the first in the model's order.

    Groups with a point in common are one.

    Example:
    >>> a, b, c = map(HookPoint, "abc")
    >>> share_ranges([a, b, c], [(b, c)])
    {HookPoint(path='c', ...): HookPoint(path='b', ...)}
    """
    together: dict[HookPoint, set[HookPoint]] = {}
    for group in groups:
        merged = set(group).union(*(together.get(member, ()) for member in group))
        together.update(dict.fromkeys(merged, merged))
    first: dict[int, HookPoint] = {}
    owners = {p: first.setdefault(id(together[p]), p) for p in learned if p in together}
    return {point: owner for point, owner in owners.items() if point != owner}


def _steps_of_cells(
    model: keras.Model, points: Iterable[HookPoint]
) -> Iterable[Collection[HookPoint]]:
    """Return the points of each role in the cells of recurrent layers: one range for all steps."""
    cells = tuple(
        f"{path}/" for path, layer in walk_layers(model) if isinstance(layer, keras.layers.RNN)
    )
    groups: dict[tuple, list[HookPoint]] = {}
    for point in points:
        if point.path.startswith(cells):
            groups.setdefault((point.path, point.role, point.index), []).append(point)
    return groups.values()
