"""What a compressed model may cost."""

import dataclasses
import math
from typing import Any

from tfcompress.search.records import ACCURACY, Reference, Trial

_POINT = 0.01


@dataclasses.dataclass(frozen=True)
class Budget:
    """Limits of what a file may cost, against the float file of the same model.

    Args:
        max_accuracy_drop: how much less accuracy at most, a share: 0.01 is one point.
        max_size: bytes of the gzipped file at most; None for no limit.
        max_latency: median seconds of a run on this computer at most; None for no limit.
        metric: what stands in the place of accuracy, if not accuracy; the drop is in its unit.

    Raises:
        ValueError: a limit is out of its range.

    Example:
    >>> Budget(max_accuracy_drop=0.01, max_size=40_000)
    Budget(max_accuracy_drop=0.01, max_size=40000, max_latency=None)
    """

    max_accuracy_drop: float = 0.01
    max_size: int | None = None
    max_latency: float | None = None
    metric: str = ACCURACY

    def __post_init__(self):
        if self.metric != ACCURACY:
            if not 0 <= self.max_accuracy_drop < math.inf:
                raise ValueError(
                    f"`max_accuracy_drop` says how much worse {self.metric} may get, in its own "
                    f"unit, from 0. Received: max_accuracy_drop={self.max_accuracy_drop!r}"
                )
        elif not 0 <= self.max_accuracy_drop < 1:
            raise ValueError(
                "`max_accuracy_drop` is a share of the examples in [0, 1), such as 0.01 for one "
                f"point. Received: max_accuracy_drop={self.max_accuracy_drop!r}"
            )
        for name, unit in (("max_size", "bytes"), ("max_latency", "seconds")):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise ValueError(
                    f"`{name}` is a positive number of {unit}. Received: {name}={limit!r}"
                )

    def require_possible(self, reference: Reference) -> None:
        """Check the limits against what no compression of a model goes below.

        Raises:
            ValueError: the size is less than that of the model's file without any weights.
        """
        if self.max_size is not None and self.max_size <= reference.bare_size:
            raise ValueError(
                f"No compression of this model meets `max_size`: its operations alone, without any "
                f"weights, take {reference.bare_size:,} bytes after gzip. "
                f"Received: max_size={self.max_size!r}"
            )

    def shortfalls(self, trial: Trial) -> dict[str, float]:
        """Return by how much a trial misses each limit, in the limit's unit; empty if it holds.

        A file that the target does not run misses ``runs_on_target`` by 1.
        """
        if trial.error is not None:
            return {"failed": 1.0}
        excess = {"accuracy_drop": trial.accuracy_drop - self.max_accuracy_drop}
        if self.max_size is not None:
            excess["size"] = trial.gzip_size - self.max_size
        if self.max_latency is not None:
            excess["latency"] = trial.latency - self.max_latency
        if not trial.runs_on_target:
            excess["runs_on_target"] = 1.0
        # One example more or less must not depend on how a quotient is rounded.
        return {name: value for name, value in excess.items() if value > 1e-9}

    def distance(self, trial: Trial) -> float:
        """Return how far a trial is from the budget: the sum of shortfalls, each by its scale.

        A point of accuracy, or what another metric may get worse, counts as much as a twentieth of
        the permitted size or latency; a file
        that the target does not run is far from any that it runs.
        """
        scales = {
            "accuracy_drop": _POINT
            if self.metric == ACCURACY
            else self.max_accuracy_drop or _POINT,
            "size": (self.max_size or 1) / 20,
            "latency": (self.max_latency or 1) / 20,
            "runs_on_target": 1e-6,
            "failed": 1e-9,
        }
        return sum(value / scales[name] for name, value in self.shortfalls(trial).items())

    def to_json(self) -> dict[str, Any]:
        """Return the limits as plain data."""
        limits = dataclasses.asdict(self)
        del limits["metric"]  # the reference has it
        return limits


def make_budget(
    metric: str,
    max_accuracy_drop: float | None,
    max_size: int | None = None,
    max_latency: float | None = None,
) -> Budget:
    """Make a budget; accuracy may drop by a point where nothing is said.

    Raises:
        ValueError: as for ``Budget``; or a metric other than accuracy comes without a limit.
    """
    if max_accuracy_drop is None:
        if metric != ACCURACY:
            raise ValueError(
                f"Say how much worse {metric} may get, in its own unit: `max_accuracy_drop`. "
                "Received: max_accuracy_drop=None"
            )
        max_accuracy_drop = _POINT
    return Budget(max_accuracy_drop, max_size, max_latency, metric)


def require_positive(**values: float | None) -> None:
    """Check numbers of a search that are counts, seconds or rates; None stands for a default.

    Raises:
        ValueError: one is not above 0.
    """
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"`{name}` must be positive. Received: {name}={value!r}")
