"""What a search within a budget has tried, read from its ``result.json``."""

import dataclasses
import json
import os
import pathlib
from typing import Any

_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Trial:
    """One candidate of a search.

    Attributes:
        number: its number.
        candidate: what was asked for: share of channels removed, sparsity, and so on.
        accuracy: of its file, a share; None if it failed.
        gzip_size: bytes of its file after gzip, likewise.
        compression_ratio: gzipped bytes of the reference over its own, likewise.
        speed_up: median latency of the reference over its own, likewise.
        seconds: how long the trial took.
        on_front: whether no other trial beats it in everything at once.
        error: why it failed, otherwise None.
    """

    number: int
    candidate: dict[str, Any]
    accuracy: float | None
    gzip_size: int | None
    compression_ratio: float | None
    speed_up: float | None
    seconds: float | None
    on_front: bool
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """A search.

    Attributes:
        target: the device that it was for.
        budget: its limits, None where there was none.
        met: whether a trial holds them.
        nearest: the number of the best trial, or of the one that is nearest to the budget.
        shortfalls: by how much that one misses each limit; empty if the budget is met.
        reference_accuracy: accuracy of the float file, a share.
        reference_gzip_size: its bytes after gzip.
        metric: what accuracy is, if not accuracy.
        lower_is_better: whether less of it is better.
        trials: the trials, in order.
    """

    target: str | None
    budget: dict[str, float | None]
    met: bool
    nearest: int | None
    shortfalls: dict[str, float]
    reference_accuracy: float
    reference_gzip_size: int
    trials: tuple[Trial, ...]
    metric: str = "accuracy"
    lower_is_better: bool = False


def read_search_result(path: str | os.PathLike) -> SearchResult:
    """Read what a search has written.

    Args:
        path: its ``result.json``, or the folder that it is in.

    Returns:
        The search.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no result of a search, or of a later version.

    Example:
    ```python
    read_search_result("search/result.json").met
    ```
    """
    path = pathlib.Path(path)
    path = path / "result.json" if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(
                f"this version reads format {_FORMAT}. Received: {content['format']!r}"
            )
        return SearchResult(
            target=content["target"],
            budget=dict(content["budget"]),
            met=bool(content["met"]),
            nearest=content["nearest"],
            shortfalls=dict(content["shortfalls"]),
            reference_accuracy=float(content["reference"]["accuracy"]),
            reference_gzip_size=int(content["reference"]["gzip_size"]),
            trials=tuple(_trial(entry) for entry in content["trials"]),
            metric=str(content["reference"].get("metric", "accuracy")),
            lower_is_better=bool(content["reference"].get("lower_is_better", False)),
        )
    except KeyError as error:
        raise ValueError(f"{path} is no result of a search: it has no {error}") from error
    except (OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no result of a search: {error}") from error


def _trial(entry: dict[str, Any]) -> Trial:
    names = [field.name for field in dataclasses.fields(Trial)]
    return Trial(**{name: entry[name] for name in names})
