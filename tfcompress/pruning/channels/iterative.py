"""Iterative structured pruning: channel removal and fine-tuning in turns, resumable."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras

from tfcompress.atomic_files import replace_atomically, write_atomically
from tfcompress.interruption import raise_pending_interruption, reliable_interruption
from tfcompress.keras_graph.channels import read_channels
from tfcompress.pruning.channels.removal import absolute, remove_channels, the_one_of

_JOURNAL = "rounds.json"


@dataclasses.dataclass(frozen=True)
class Round:
    """One removal and the fine-tuning after it.

    Attributes:
        number: from 1 on.
        of: the number of rounds.
        macs: remaining multiply-accumulate operations per example.
        parameters: remaining parameters.
        logs: losses and metrics of the last epoch.
    """

    number: int
    of: int
    macs: int
    parameters: int
    logs: dict[str, float]

    def __str__(self):
        logs = ", ".join(f"{name} {value:.4g}" for name, value in self.logs.items())
        return (
            f"Round {self.number}/{self.of}: {self.macs:,} MACs, {self.parameters:,} parameters"
            + (f", {logs}" if logs else "")
        )


@reliable_interruption()
def prune_iteratively(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    rounds: int,
    folder: str | os.PathLike,
    target_macs: float | None = None,
    target_size: float | None = None,
    fit: Mapping[str, Any] | None = None,
    compile: Callable[[keras.Model], None] | None = None,
    progress: Callable[[Round], None] = print,
    **removal: Any,
) -> keras.Model:
    """Remove some channels, fine-tune, and repeat: gentler than removing all at once.

    Each round shrinks the model by the same factor and saves it in ``folder``. A call with the same
    arguments resumes an interrupted one after its last finished round.

    Args:
        model: a built and compiled Sequential or Functional model; it is not changed.
        x: training data, as for ``fit``; also the criterion's data, unless ``data`` is given.
        y: labels, if ``x`` does not contain them.
        rounds: number of rounds.
        folder: directory of the finished rounds; created if missing.
        target_macs: the final multiply-accumulate operations; below 1, a fraction of the model's
            own.
        target_size: the final number of parameters; below 1, a fraction of the model's own.
        fit: further arguments for ``fit``, such as ``{"epochs": 5, "batch_size": 32}``.
        compile: a function that compiles each smaller model; by default it is compiled like
            ``model``, with a new optimizer.
        progress: called with each finished ``Round``.
        **removal: further arguments for ``remove_channels``, such as ``criterion`` and ``data``.

    Returns:
        The model of the last round, compiled and trained.

    Raises:
        ValueError: none or both of the targets are given, ``rounds`` is less than 1, ``model`` is
            not compiled, ``folder`` holds the rounds of another call; or see ``remove_channels``.

    Example:
    >>> smaller = tfc.prune_iteratively(
    ...     model, x, y, rounds=2, target_macs=0.5, folder="rounds", fit={"epochs": 5}
    ... )

    Source: Han et al., "Learning both weights and connections for efficient neural networks", 2015,
    https://arxiv.org/abs/1506.02626; of channels: Molchanov et al., "Pruning convolutional neural
    networks for resource efficient inference", 2017, https://arxiv.org/abs/1611.06440.
    """
    flow = read_channels(model)
    name, target, present = _target(flow, target_macs, target_size)
    if rounds < 1:
        raise ValueError(f"`rounds` must be at least 1. Received: rounds={rounds!r}")
    if compile is None and not model.compiled:
        raise ValueError(
            f"Model {model.name!r} is not compiled, so it cannot be fine-tuned. Compile it, or "
            "pass `compile`, a function that compiles a smaller model. "
            f"Received: compile={compile!r}"
        )
    limits = [present * (target / present) ** (step / rounds) for step in range(1, rounds + 1)]
    journal = _Journal(pathlib.Path(folder), {name: limits, "parameters": flow.parameters()})
    removal.setdefault("data", x if y is None else (x, y))
    smaller = journal.last_model() or model
    for number in range(len(journal.rounds) + 1, rounds + 1):
        smaller = remove_channels(smaller, **{name: max(limits[number - 1], 1)}, **removal)
        if compile is not None:
            compile(smaller)
        else:
            smaller.compile_from_config(model.get_compile_config())
        history = smaller.fit(x, y, **(fit or {})).history
        left = read_channels(smaller)
        logs = {key: float(values[-1]) for key, values in history.items()}
        done = Round(number, rounds, left.macs(), left.parameters(), logs)
        journal.add(done, smaller)
        progress(done)
        raise_pending_interruption()
    return smaller


def _target(flow, target_macs, target_size):
    """Return the name of the target, its absolute value, and the model's present value."""
    name, target = the_one_of(target_macs=target_macs, target_size=target_size)
    present = flow.macs() if name == "target_macs" else flow.parameters()
    if not 0 < target <= present:
        raise ValueError(
            f"`{name}` must be positive and at most {present:,}, the model's own. "
            f"Received: {name}={target!r}"
        )
    return name, absolute(target, present), present


class _Journal:
    """The finished rounds in a folder."""

    def __init__(self, folder, plan):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._plan = plan
        self.rounds: list[Round] = []
        path = folder / _JOURNAL
        if path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["plan"] != plan:
                raise ValueError(
                    "`folder` holds the rounds of another model or target: use another folder, or "
                    f"empty this one. Received: folder={str(folder)!r}, which holds "
                    f"{content['plan']}, for {plan}"
                )
            self.rounds = [Round(**row) for row in content["rounds"]]

    def last_model(self):
        """Return the model of the last finished round; None before the first."""
        return keras.saving.load_model(self._file(len(self.rounds))) if self.rounds else None

    def add(self, done, model):
        """Save a round, its model first: a round in the journal is complete."""
        with replace_atomically(self._file(done.number)) as draft:
            model.save(draft)
        self.rounds.append(done)
        content = {"plan": self._plan, "rounds": [dataclasses.asdict(row) for row in self.rounds]}
        write_atomically(self._folder / _JOURNAL, json.dumps(content, indent=2).encode())

    def _file(self, number):
        """Return the path of a round's model."""
        return self._folder / f"round_{number}.keras"
