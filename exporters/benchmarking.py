"""Benchmarks of files: latency and memory, several files in turns, each in its own process."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from exporters.inspection import inspect
from exporters.running.runtime import (
    Children,
    Limits,
    LoadedModel,
    RunError,
    Runtime,
    find_runtime,
    load_isolated,
)
from exporters.running.tensor_details import random_inputs
from tfcompress.machine import usable_cores
from tfcompress.tflite.editing import OperationCutter
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import FlatbufferError

_TURNS = 10
_PROFILE_RUNS = 20


@dataclasses.dataclass(frozen=True)
class OperationTime:
    """The median time of one operation by itself; None if it cannot run by itself."""

    index: int
    operation: str
    layer: str | None
    seconds: float | None


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The benchmark of one file with one kernel set and number of threads."""

    file: str
    kernels: str
    threads: int  # the number of threads
    first: float = 0.0  # seconds of the first run, which prepares the kernels
    median: float = 0.0  # median seconds of the later runs
    p90: float = 0.0  # the 90th percentile of the later runs in seconds
    minimum: float = 0.0  # seconds of the fastest run
    peak_memory: int = 0  # peak bytes in RAM of the process, beyond what its runtime takes
    # Seconds of each operation by itself; empty without ``profile``.
    operations: tuple[OperationTime, ...] = ()
    error: str | None = None  # why it did not run, and all numbers are 0; otherwise None


@dataclasses.dataclass(frozen=True)
class BenchmarkResult:
    """The benchmark of several files.

    Attributes:
        runtime: the runtime's name and version.
        runs: runs of each file after the first.
        cores: the processor cores that this process may use.
        measurements: one entry per file, kernel set and number of threads.
    """

    runtime: str
    runs: int
    cores: int
    measurements: tuple[Measurement, ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """Return a table for the terminal."""
        lines = [
            f"{self.runtime}, {self.runs} runs, {self.cores} cores",
            f"{'file':<32} {'kernels':<10} {'threads':>7} {'first, ms':>11} {'median, ms':>11} "
            f"{'p90, ms':>11} {'minimum, ms':>11} {'memory, MiB':>11}",
        ]
        for entry in self.measurements:
            name = os.path.basename(entry.file)[-32:]
            head = f"{name:<32} {entry.kernels:<10} {entry.threads:>7}"
            if entry.error is not None:
                lines.append(f"{head} did not run: {entry.error}")
                continue
            times = (entry.first, entry.median, entry.p90, entry.minimum)
            shown = " ".join(f"{1000 * seconds:>11.3f}" for seconds in times)
            lines.append(f"{head} {shown} {entry.peak_memory / 2**20:>11.2f}")
            lines += [
                f"    {op.index:>3} {op.operation:<28} {op.layer or '-':<40} "
                + ("-" if op.seconds is None else f"{1000 * op.seconds:.4f} ms")
                for op in entry.operations
            ]
        return "\n".join(lines)


def benchmark(
    files: str | os.PathLike | Sequence[str | os.PathLike],
    runs: int = 50,
    threads: Sequence[int] = (1,),
    kernels: Sequence[str] = ("xnnpack",),
    *,
    runtime: Runtime | str | None = None,
    profile: bool = False,
    limits: Limits | None = None,
    seed: int = 0,
) -> BenchmarkResult:
    """Measure latency and memory.

    Each file runs in its own child process, on random inputs. All files of one kernel set and
    number of threads are measured in turns (A B A B ...), so that changes of the computer's speed
    affect all of them.

    The Python interfaces of the runtimes have no profiler. With ``profile=True`` every operation is
    timed as a file of its own with the same kernels and threads: what a delegate gains across
    operations does not show, and loops are left out.

    Args:
        files: a path, or several.
        runs: runs of each file after the first.
        threads: numbers of threads to try.
        kernels: kernel sets to try: "xnnpack", "builtin", "reference".
        runtime: see ``exporters.running.runtime.find_runtime``.
        profile: whether to time every operation.
        limits: what each child process may use.
        seed: of the inputs.

    Returns:
        The measurements.

    Raises:
        FlatbufferError: a file is damaged.
        RuntimeError: the runtime is missing.
        ValueError: an argument is none of the above.

    Example:
    ```python
    print(benchmark(["float.tflite", "int8.tflite"], threads=(1, 4)).to_text())
    ```
    """
    files = [files] if isinstance(files, str | os.PathLike) else list(files)
    if not files or runs < 1:
        raise ValueError(
            f"`files` and `runs` must be at least one. Received: files={files}, runs={runs}"
        )
    runtime = find_runtime(runtime)
    measurements = [
        measurement
        for kernel_set in kernels
        for count in threads
        for measurement in _in_turns(
            files, runs, _Setting(runtime, kernel_set, count, limits, seed), profile
        )
    ]
    return BenchmarkResult(str(runtime), runs, usable_cores(), tuple(measurements))


@dataclasses.dataclass(frozen=True)
class _Setting:
    """How files are run."""

    runtime: Runtime
    kernels: str
    threads: int
    limits: Limits | None
    seed: int

    def load(self, source, **settings) -> LoadedModel:
        return load_isolated(
            source, self.runtime, self.kernels, self.threads, limits=self.limits, **settings
        )


def _in_turns(files, runs: int, setting: _Setting, profile: bool) -> list[Measurement]:
    loaded: dict[int, LoadedModel] = {}
    seconds: dict[int, list[float]] = {place: [] for place in range(len(files))}
    errors: dict[int, str] = {}
    turns = min(runs, _TURNS)
    with contextlib.ExitStack() as processes:
        for place, file in enumerate(files):
            with _catching(errors, place):
                loaded[place] = processes.enter_context(setting.load(file))
                loaded[place].feed(random_inputs(loaded[place].inputs, setting.seed))
                seconds[place] += loaded[place].time(1)
        for turn in range(turns):
            for place in [place for place in loaded if place not in errors]:
                with _catching(errors, place):
                    seconds[place] += loaded[place].time((runs + turn) // turns)
        measurements = []
        for place, file in enumerate(files):
            measured: dict[str, Any] = {"error": errors.get(place)}
            if place not in errors:
                first, *later = seconds[place]
                peak, before = loaded[place].peak_memory
                measured = {
                    "first": first,
                    "median": float(np.median(later)),
                    "p90": float(np.quantile(later, 0.9, method="higher")),
                    "minimum": min(later),
                    "peak_memory": peak - before,
                    "operations": _profile(file, setting) if profile else (),
                }
            settings = os.fspath(file), setting.kernels, setting.threads
            measurements.append(Measurement(*settings, **measured))
    return measurements


@contextlib.contextmanager
def _catching(errors: dict[int, str], place: int):
    """Keep the error of one file, so that the others continue."""
    try:
        yield
    except RunError as error:
        errors[place] = str(error)


def _profile(file, setting: _Setting) -> tuple[OperationTime, ...]:
    """Time every operation of the main graph by itself."""
    with open(file, "rb") as stream:
        content = stream.read()
    cutter = OperationCutter(content, read_model(content, name=os.fspath(file)))
    with Children(setting.limits) as children:
        return tuple(
            OperationTime(
                index=operation.index,
                operation=operation.name,
                layer=operation.layer,
                seconds=_alone(cutter.cut(operation.index), setting, children),
            )
            for operation in inspect(content).operations
            if operation.subgraph == 0
        )


def _alone(content: bytes | None, setting: _Setting, children: Children) -> float | None:
    if content is None:
        return None
    try:
        loaded = setting.load(content, child=children.of(setting.runtime))
        loaded.feed(random_inputs(loaded.inputs, setting.seed))
        loaded.time(1)
        return float(np.median(loaded.time(_PROFILE_RUNS)))
    except (RunError, FlatbufferError):  # it needs more than its own tensors
        return None
