"""Targets: the devices that files are made for, read from the JSON files of this folder."""

import dataclasses
import functools
import importlib.resources
import json
from typing import Any

_NOT_A_TARGET = "operation_versions"


@dataclasses.dataclass(frozen=True)
class TargetRuntime:
    """The runtime that a device has.

    Attributes:
        package: its distribution.
        version: its version.
        operations: the TensorFlow release whose operation versions it knows.
    """

    package: str
    version: str
    operations: str


@dataclasses.dataclass(frozen=True)
class Delegate:
    """What computes in the CPU's place.

    Attributes:
        name: its name.
        required: whether the device is chosen for its sake, so that what it cannot take is a fault.
        segments: "any" number of parts of the graph run on it; the "first" only; or "all" of the
            graph must, as there is nothing else.
        dtypes: types that its operations' values may have.
        rules: rules for every operation, by the names of ``tfcompress.targets.rules``.
        operations: the operations that it has, each with its own rules.
    """

    name: str
    required: bool
    segments: str
    dtypes: tuple[str, ...]
    rules: dict[str, Any]
    operations: dict[str, dict[str, Any]]

    def __post_init__(self):
        if self.segments not in ("any", "first", "all"):
            raise ValueError(f"segments: 'any', 'first' or 'all'. Received: {self.segments!r}")


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory of a device in bytes: for the file, and for the tensors (the arena)."""

    flash: int
    arena: int


@dataclasses.dataclass(frozen=True)
class Compiler:
    """How a file is compiled for an Arm Ethos-U NPU, whose compiler then judges it.

    Attributes:
        accelerator: the NPU and its multipliers, such as "ethos-u55-128".
        system_config: clock and memories, a section of the compiler's ``vela.ini``.
        memory_mode: which memory holds what, likewise.
    """

    accelerator: str
    system_config: str
    memory_mode: str


@dataclasses.dataclass(frozen=True)
class Target:
    """A device.

    Attributes:
        name: its name, such as "coral-edgetpu".
        title: what it is.
        runtime: the runtime that it has; None where the program is compiled with its own.
        threads: threads worth using.
        notes: what to know before deploying there.
        sources: where the facts are from.
        delegate: what computes in the CPU's place, or None.
        memory: its limits, or None where they do not matter.
        compiler: the compiler whose word decides, or None where ``delegate`` does.
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
    text = importlib.resources.files(__package__).joinpath(f"{name}.json").read_text("utf-8")
    facts = json.loads(text)
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
