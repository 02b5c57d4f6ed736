"""How the metrics of a model went while it was trained."""

import csv
import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        title: what was trained.
        history: the value of each metric after each epoch.
        parameters: the number of its weights, None if not known.
        seconds: how long it took, None if not known.
    """

    title: str
    history: dict[str, list[float]]
    parameters: int | None = None
    seconds: float | None = None

    @property
    def epochs(self) -> int:
        """How many epochs it took."""
        return max((len(values) for values in self.history.values()), default=0)


def read_trainings(source: Any) -> tuple[Training, ...]:
    """Read how trainings went.

    Args:
        source: what ``fit`` returned; its ``history``: {metric: a value for each epoch}; the path
            of a .json file that holds this, or of a .csv file that ``keras.callbacks.CSVLogger``
            wrote; or a ``Training``. Several of these come as a list, or as a dict by title.

    Returns:
        The trainings, in order.

    Raises:
        OSError: a file cannot be read.
        ValueError: it holds no history.

    Example:
    ```python
    read_trainings({"float": history, "compressed": "compressed.json"})
    ```
    """
    if isinstance(source, Mapping) and not _is_history(source):
        return tuple(_training(entry, str(title)) for title, entry in source.items())
    if isinstance(source, Sequence) and not isinstance(source, str | bytes):
        return tuple(
            _training(entry, _title(entry, f"training {place}"))
            for place, entry in enumerate(source, 1)
        )
    return (_training(source, _title(source, "training")),)


def _training(source: Any, title: str) -> Training:
    return source if isinstance(source, Training) else Training(title, _history(source))


def _history(source: Any) -> dict[str, list[float]]:
    if isinstance(source, str | os.PathLike):
        path = pathlib.Path(source)
        history = _from_csv(path) if path.suffix == ".csv" else _from_json(path)
    else:
        history = getattr(source, "history", source)
    if not _is_history(history):
        raise ValueError(
            "A history is {metric: [a number for each epoch]}: what `fit` returns, a .json file of "
            f"its `history`, or a .csv file of `CSVLogger`. Received: {_shown(source)}"
        )
    return {
        str(name): [float(value) for value in values]
        for name, values in history.items()
        if name != "epoch"
    }


def _is_history(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(
            isinstance(values, Sequence)
            and not isinstance(values, str)
            and bool(len(values))
            and all(
                isinstance(number, int | float) or hasattr(number, "dtype") for number in values
            )
            for values in value.values()
        )
    )


def _from_json(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error


def _from_csv(path: pathlib.Path) -> dict[str, list[float]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no file of `CSVLogger`: {error}") from error


def _title(source: Any, otherwise: str) -> str:
    return pathlib.Path(source).stem if isinstance(source, str | os.PathLike) else otherwise


def _shown(source: Any) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else repr(source)[:80]
