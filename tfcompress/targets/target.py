"""Targets: the devices that files are made for, read from JSON files."""

import dataclasses
import functools
import importlib.resources
import json
from typing import Any

from tfcompress.tflite.model import Operation, TFLiteModel

_NOT_A_TARGET = "operation_versions"


@dataclasses.dataclass(frozen=True)
class TargetRuntime:
    """The runtime of a device."""

    package: str  # its distribution
    version: str
    operations: str  # the TensorFlow release whose operation versions it knows


@dataclasses.dataclass(frozen=True)
class Delegate:
    """An accelerator that runs operations in place of the CPU."""

    name: str
    required: bool  # whether an operation that it cannot run makes a file incompatible
    # "any" number of parts of the graph run on it; only the "first"; or "all" of the graph must.
    segments: str
    dtypes: tuple[str, ...]  # the types of activations that it supports
    rules: dict[str, Any]  # rules for every operation, by the names in ``tfcompress.targets.rules``
    operations: dict[str, dict[str, Any]]  # the supported operations, each with its own rules

    def __post_init__(self) -> None:
        if self.segments not in ("any", "first", "all"):
            raise ValueError(
                f"`segments` must be 'any', 'first' or 'all'. Received: segments={self.segments!r}"
            )


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory of a device in bytes: for the file, and for the tensors (the arena)."""

    flash: int
    arena: int


@dataclasses.dataclass(frozen=True)
class Compiler:
    """How a file is compiled for an Arm Ethos-U NPU."""

    accelerator: str  # the NPU and its multipliers, such as "ethos-u55-128"
    system_config: str  # clock and memories, a section of the compiler's ``vela.ini``
    memory_mode: str  # which memory holds what, another section


@dataclasses.dataclass(frozen=True)
class Target:
    """A device.

    Attributes:
        name: its name, such as "coral-edgetpu".
        title: what it is.
        runtime: its runtime; None if the program is compiled with its own.
        threads: the number of threads to use.
        notes: what to know before deploying to it.
        sources: the sources of these facts.
        delegate: its accelerator, or None.
        memory: its memory, or None if that does not limit files.
        compiler: the compiler that decides on compatibility; None if ``delegate`` does.
    """

    name: str
    title: str
    runtime: TargetRuntime | None
    threads: int
    notes: tuple[str, ...]
    sources: tuple[str, ...]
    delegate: Delegate | None = None
    memory: Memory | None = None
    compiler: Compiler | None = None


def list_targets() -> tuple[str, ...]:
    """List the names of the known targets."""
    names = (entry.name for entry in importlib.resources.files(__package__).iterdir())
    found = {name.removesuffix(".json") for name in names if name.endswith(".json")}
    return tuple(sorted(found - {_NOT_A_TARGET}))


@functools.cache
def load_target(name: str) -> Target:
    """Read a target.

    Args:
        name: one of ``list_targets()``.

    Returns:
        The target.

    Raises:
        ValueError: there is no such target.

    Example:
    ```python
    load_target("raspberry-pi-zero").runtime.version  # "2.14.0"
    ```
    """
    if name not in list_targets():
        raise ValueError(f"Unknown target. Supported: {list(list_targets())}. Received: {name!r}")
    facts = _facts_of(name)
    runtime, delegate, memory, compiler = (
        facts.pop(key, None) for key in ("runtime", "delegate", "memory", "compiler")
    )
    if delegate is not None:
        delegate = Delegate(**{**delegate, "dtypes": tuple(delegate["dtypes"])})
    return Target(
        name=name,
        title=facts.pop("title"),
        threads=facts.pop("threads"),
        notes=tuple(facts.pop("notes")),
        sources=tuple(facts.pop("sources")),
        runtime=None if runtime is None else TargetRuntime(**runtime),
        delegate=delegate,
        memory=None if memory is None else Memory(**memory),
        compiler=None if compiler is None else Compiler(**compiler),
        **facts,
    )


def _facts_of(name: str) -> dict[str, Any]:
    """Read a target's file; what it leaves out is as in the target that it says it is like."""
    text = importlib.resources.files(__package__).joinpath(f"{name}.json").read_text("utf-8")
    facts = json.loads(text)
    base = facts.pop("like", None)
    return facts if base is None else {**_facts_of(base), **facts}


_FIRST = "1.5.0"


def version_key(version: str) -> tuple[int, ...]:
    """Turn a version such as "2.14.0" into something that sorts."""
    return tuple(int(part) for part in version.split("."))


@functools.cache
def operation_versions() -> dict[str, dict[int, str]]:
    """Read the table: for each operation, the release that brought each of its versions."""
    file = importlib.resources.files(__package__).joinpath("operation_versions.json")
    table = json.loads(file.read_text("utf-8"))["operations"]
    return {
        operation: {int(version): release for version, release in versions.items()}
        for operation, versions in table.items()
    }


def oldest_runtime(operation: str, version: int) -> str | None:
    """Find the oldest release, such as "2.17.0", that runs an operation; None if it is unknown."""
    return operation_versions().get(operation, {}).get(version)


def minimum_runtime(model: TFLiteModel) -> str | None:
    """Find the oldest TensorFlow release that runs every operation of a file; None if unknown."""
    releases = [
        oldest_release(operation) for graph in model.subgraphs for operation in graph.operations
    ]
    known = [release for release in releases if release is not None]
    return max(known, key=version_key, default=_FIRST) if len(known) == len(releases) else None


def oldest_release(operation: Operation) -> str | None:
    """Find the oldest TensorFlow release that runs an operation, None if it is unknown.

    A custom operation is registered by the program: no release decides on it.
    """
    return _FIRST if operation.custom else oldest_runtime(operation.name, operation.version)
