"""How long files take, and how much memory: several files in turns, each in its own process."""

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
    """How long one operation takes by itself.

    Attributes:
        index: its place in the main graph.
        operation: its name.
        layer: the scope of the Keras layer behind it, None if its name says nothing.
        seconds: the median of its runs; None if it cannot run by itself.
    """

    index: int
    operation: str
    layer: str | None
    seconds: float | None


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one file took with one kernel set and number of threads.

    Attributes:
        file: the file.
        kernels: the kernel set.
        threads: the number of threads.
        first: seconds of the first run, which sets kernels up.
        median: median seconds of the later runs.
        p90: seconds that 90 % of the later runs stayed within.
        minimum: seconds of the fastest.
        peak_memory: bytes in RAM that the process had at most, beyond what its runtime takes.
        operations: seconds of each operation by itself; empty unless asked for.
        error: why it did not run, otherwise None; then the numbers are 0.
    """

    file: str
    kernels: str
    threads: int
    first: float = 0.0
    median: float = 0.0
    p90: float = 0.0
    minimum: float = 0.0
    peak_memory: int = 0
    operations: tuple[OperationTime, ...] = ()
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class BenchmarkResult:
    """What several files took.

    Attributes:
        runtime: the runtime's name and version.
        runs: runs of each file after the first.
        cores: the processor cores of this computer that the process may use.
        measurements: an entry for each file, kernel set and number of threads.
    """

    runtime: str
    runs: int
    cores: int
    measurements: tuple[Measurement, ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """Return a table for the terminal, in milliseconds and MiB."""
        lines = [
            f"{self.runtime}, {self.runs} runs, {self.cores} cores",
            f"{'file':<32} {'kernels':<10} {'threads':>7} {'first':>9} {'median':>9} {'p90':>9} "
            f"{'minimum':>9} {'memory':>9}",
        ]
        for entry in self.measurements:
            head = (
                f"{os.path.basename(entry.file)[-32:]:<32} {entry.kernels:<10} {entry.threads:>7}"
            )
            if entry.error is not None:
                lines.append(f"{head} did not run: {entry.error}")
                continue
            times = (entry.first, entry.median, entry.p90, entry.minimum)
            lines.append(
                f"{head} "
                + " ".join(f"{1000 * seconds:>9.3f}" for seconds in times)
                + f" {entry.peak_memory / 2**20:>9.2f}"
            )
            lines += [
                f"    {op.index:>3} {op.operation:<28} {op.layer or '-':<40} "
                + ("-" if op.seconds is None else f"{1000 * op.seconds:.4f}")
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

    Each file runs in a child process of its own. All files of one kernel set and number of threads
    are loaded at once and measured in turns (A B A B ...), so that a change of the computer's pace
    meets all of them. Inputs are random.

    The Python interfaces of the runtimes offer no profiler. So with ``profile=True`` every
    operation is cut out as a file of its own and timed with the same kernels and threads: what a
    delegate gains across operations does not show, and loops cannot be cut.

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
        raise ValueError(f"One file and one run at least. Received: files={files}, runs={runs}")
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


@dataclasses.dataclass
class _Racer:
    """A loaded file and the times that it took so far."""

    loaded: LoadedModel
    first: float
    seconds: list[float] = dataclasses.field(default_factory=list)


def _in_turns(files, runs: int, setting: _Setting, profile: bool) -> list[Measurement]:
    racers: dict[int, _Racer] = {}
    errors: dict[int, str] = {}
    turns = min(runs, _TURNS)
    with contextlib.ExitStack() as processes:
        for place, file in enumerate(files):
            with _kept(errors, place):
                loaded = processes.enter_context(setting.load(file))
                loaded.feed(random_inputs(loaded.inputs, setting.seed))
                racers[place] = _Racer(loaded, loaded.time(1)[0])
        for turn in range(turns):
            for place, racer in racers.items():
                if place not in errors:
                    with _kept(errors, place):
                        racer.seconds += racer.loaded.time((runs + turn) // turns)
        return [
            Measurement(os.fspath(file), setting.kernels, setting.threads, error=errors[place])
            if place in errors
            else _measurement(file, setting, racers[place], profile)
            for place, file in enumerate(files)
        ]


@contextlib.contextmanager
def _kept(errors: dict[int, str], place: int):
    """Keep the error of one file, so that the others go on."""
    try:
        yield
    except RunError as error:
        errors[place] = str(error)


def _measurement(file, setting: _Setting, racer: _Racer, profile: bool) -> Measurement:
    peak, before = racer.loaded.peak_memory
    return Measurement(
        file=os.fspath(file),
        kernels=setting.kernels,
        threads=setting.threads,
        first=racer.first,
        median=float(np.median(racer.seconds)),
        p90=float(np.quantile(racer.seconds, 0.9, method="higher")),
        minimum=min(racer.seconds),
        peak_memory=peak - before,
        operations=_profile(file, setting) if profile else (),
    )


def _profile(file, setting: _Setting) -> tuple[OperationTime, ...]:
    """Time every operation of the main graph as a file of its own."""
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
    except (RunError, FlatbufferError):  # it lacks what only the whole file has
        return None
