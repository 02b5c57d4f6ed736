"""Where training rounds a model, as data that is saved with it."""

import dataclasses

from tfcompress.keras_graph.hooks import HookPoint
from tfcompress.keras_graph.inner_tensors import is_inner_role


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a model's ranges belong.

    Attributes:
        learnt: points whose range is learned in training, in the order of the model.
        fixed: points whose range the operation defines, as (point, (smallest, largest)) pairs.
        shared: points that have the range of a learned point, as (point, learned point) pairs: what
            enters a concatenation has one scale with what leaves it.
        beside_float: paths of layers that are fused with one that computes in float.
        rewritten: types of TensorFlow operations that are lowered, see ``rewritings``.
        scores: points of scores that may be masked, as (point, margin) pairs, see
            ``score_margins``.
    """

    learnt: tuple[HookPoint, ...]
    fixed: tuple[tuple[HookPoint, tuple[float, float]], ...]
    shared: tuple[tuple[HookPoint, HookPoint], ...] = ()
    beside_float: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()
    scores: tuple[tuple[HookPoint, float], ...] = ()

    def rows(self) -> dict[HookPoint, int]:
        """Number the ranges that are learned, by each point that has one of them.

        Returns:
            For every learned and shared point the place of its range among ``learnt``.

        Example:
        >>> Placement((HookPoint("a"),), (), ((HookPoint("b"), HookPoint("a")),)).rows()
        {HookPoint(path='a', ...): 0, HookPoint(path='b', ...): 0}
        """
        rows = {point: row for row, point in enumerate(self.learnt)}
        return rows | {point: rows[owner] for point, owner in self.shared}

    def needs_graph(self) -> bool:
        """Tell whether a point lies inside a call, where tensors are seen in graphs alone."""
        points = [*self.rows(), *(point for point, _ in self.fixed)]
        return any(is_inner_role(point.role) for point in points)

    def get_config(self) -> dict:
        """Return the placement as plain data."""
        return {
            "learnt": [dataclasses.astuple(point) for point in self.learnt],
            "fixed": [[dataclasses.astuple(point), list(ends)] for point, ends in self.fixed],
            "shared": [[dataclasses.astuple(point) for point in pair] for pair in self.shared],
            "beside_float": list(self.beside_float),
            "rewritten": list(self.rewritten),
            "scores": [[dataclasses.astuple(point), margin] for point, margin in self.scores],
        }

    @classmethod
    def from_config(cls, config: dict) -> "Placement":
        """Build a placement from ``get_config``'s data."""
        shared = config.get("shared", ())  # absent from early files
        return cls(
            tuple(HookPoint(*point) for point in config["learnt"]),
            tuple((HookPoint(*point), tuple(ends)) for point, ends in config["fixed"]),
            tuple((HookPoint(*point), HookPoint(*owner)) for point, owner in shared),
            tuple(config.get("beside_float", ())),
            tuple(config.get("rewritten", ())),
            tuple((HookPoint(*point), margin) for point, margin in config.get("scores", ())),
        )
