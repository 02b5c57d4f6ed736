"""Training histories: the metrics of a model after each epoch."""

import csv
import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Training:
    """One training: what was trained, the values of each metric by epoch, and what it took."""

    title: str
    history: dict[str, list[float]]
    parameters: int | None = None
    seconds: float | None = None

    @property
    def epochs(self) -> int:
        """The number of epochs."""
        return max((len(values) for values in self.history.values()), default=0)


def read_trainings(source: Any) -> tuple[Training, ...]:
    """Read the histories of trainings, as ``examine`` takes them, or ``Training`` objects."""
    if isinstance(source, Mapping) and not _is_history(source):
        return tuple(_training(entry, str(title)) for title, entry in source.items())
    if isinstance(source, Sequence) and not isinstance(source, str | bytes):
        return tuple(
            _training(entry, _title(entry, f"training {place}"))
            for place, entry in enumerate(source, 1)
        )
    return (_training(source, _title(source, "training")),)


def _training(source: Any, title: str) -> Training:
    if isinstance(source, Training):
        return source
    if isinstance(source, str | os.PathLike):
        path = pathlib.Path(source)
        history = _from_csv(path) if path.suffix == ".csv" else _from_json(path)
    else:
        history = getattr(source, "history", source)
    if not _is_history(history):
        shown = str(source) if isinstance(source, str | os.PathLike) else repr(source)[:80]
        raise ValueError(
            "A history must be {metric: [a number for each epoch]}: what `fit` returns, a .json "
            f"file of its `history`, or a .csv file of `CSVLogger`. Received: {shown}"
        )
    metrics = {str(name): list(map(float, values)) for name, values in history.items()}
    metrics.pop("epoch", None)  # which CSVLogger writes
    return Training(title, metrics)


def _is_history(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(map(_are_numbers, value.values()))


def _are_numbers(values: Any) -> bool:
    if not isinstance(values, Sequence) or isinstance(values, str) or not len(values):
        return False
    return all(isinstance(number, int | float) or hasattr(number, "dtype") for number in values)


def _from_json(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error


def _from_csv(path: pathlib.Path) -> dict[str, list[float]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} was not written by `CSVLogger`: {error}") from error


def _title(source: Any, otherwise: str) -> str:
    return pathlib.Path(source).stem if isinstance(source, str | os.PathLike) else otherwise
