"""Whether a device runs a file, where, and why not."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from exporters.running.runtime import Children, LoadedModel, RunError, find_runtime, load_isolated
from exporters.running.tensor_details import random_inputs
from tfcompress.targets.arena import arena_estimate
from tfcompress.targets.rules import Site, allowed_types, broken_rules
from tfcompress.targets.target import Delegate, Target, load_target
from tfcompress.targets.vela import Compilation, CompilerError, compile_for_npu
from tfcompress.targets.versions import minimum_runtime, oldest_release, version_key
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import Operation, Subgraph, TFLiteModel
from tfcompress.tflite.rewriting import REWRITES

_COMPILED = "edgetpu-custom-op"
_KERNELS = "builtin"
_SEEDS = range(4)
_FLOAT_TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a device makes of a file.

    Attributes:
        target: the device's name.
        ok: whether nothing stands against it: ``reasons`` is empty.
        reasons: what stands against it, each naming the operation, its tensor and its layer.
        left_on_cpu: {operation: count} of what the device's accelerator does not take.
        min_runtime: the oldest TensorFlow release whose runtime has every operation in its version
            (tflite-runtime shares the numbers); None if an operation is unknown to it.
        notes: what to know before deploying there, and what an optional delegate would not take.
        arena: estimated bytes of the tensors on a microcontroller, otherwise None.
        arena_limit: bytes that the microcontroller has for them, otherwise None.
        compiled: what the device's compiler made of the file, None where the verdict is of tables.
        changes: what was rewritten.
        fixed: the rewritten file, None if nothing was.
    """

    target: str
    ok: bool
    reasons: tuple[str, ...]
    left_on_cpu: dict[str, int]
    min_runtime: str | None
    notes: tuple[str, ...] = ()
    arena: int | None = None
    arena_limit: int | None = None
    compiled: Compilation | None = None
    changes: tuple[str, ...] = ()
    fixed: bytes | None = dataclasses.field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON-able values, without the bytes of files."""
        report = dataclasses.asdict(self)
        del report["fixed"]
        if self.compiled is not None:
            del report["compiled"]["content"]
        return report

    def to_text(self) -> str:
        """Return the verdict for the terminal.

        A sentence, then a line for each reason, change and note, and for the arena.
        """
        lines = [f"{self.target}: " + ("ok" if self.ok else "does not take the file as it is")]
        if self.left_on_cpu:
            counts = ", ".join(f"{name} x{count}" for name, count in self.left_on_cpu.items())
            lines[0] += f", left on the CPU: {counts}"
        said = [*self.reasons, *self.changes, *(f"note: {note}" for note in self.notes)]
        if self.compiled is not None:
            said.append(self.compiled.to_text())
        if self.arena is not None:
            said.append(f"arena: about {self.arena:,} of {self.arena_limit:,} bytes")
        return "\n".join([*lines, *(f"  {line}" for line in said)])


def check_target(
    source: bytes | str | os.PathLike, target: str | Target, *, fix: bool = False
) -> Verdict:
    r"""Judge whether a device runs a file.

    The file is read as data, not run; except with ``fix``, where a child process runs the given and
    the rewritten file to see that they agree. For a target with an NPU that has a compiler, the
    compiler decides, in a process of its own.

    Args:
        source: the file's bytes, or its path.
        target: a device of ``tfcompress.targets.list_targets()``, or a ``Target``.
        fix: rewrite the file where that removes reasons against it and its meaning stays: dynamic
            range dense layers for runtimes before 2.17, activations of transposed convolutions for
            those before 2.13, shapes computed from a free batch. The verdict is then that of the
            rewritten file, which is ``verdict.fixed``; the given file is left alone.

    Returns:
        The verdict.

    Raises:
        FlatbufferError: the file is damaged.
        ImportError: the target's compiler is not installed.
        OSError: the path cannot be read.
        RunError: with ``fix``, the file does not run here.
        ValueError: the target is unknown.

    Example:
    ```python
    verdict = check_target("model_int8.tflite", "coral-edgetpu")
    if not verdict.ok:
        print(*verdict.reasons, sep="\n")
    ```
    """
    target = load_target(target) if isinstance(target, str) else target
    content = source if isinstance(source, bytes) else pathlib.Path(source).read_bytes()
    verdict = _judge(content, target)
    if not fix or verdict.ok:
        return verdict
    content, changes = fixed_content(
        content, lambda candidate: len(_judge(candidate, target).reasons)
    )
    if not changes:
        return verdict
    verdict = _judge(content, target)
    return dataclasses.replace(verdict, changes=changes, fixed=content)


def _judge(content: bytes, target: Target) -> Verdict:
    """Judge a file by the target's runtime, delegate or compiler, and memory."""
    model = read_model(content)
    min_runtime, reasons = _runtime_verdict(model, target)
    notes = list(target.notes)
    left, arena, compiled = {}, None, None
    if target.compiler is not None:
        try:
            compiled = compile_for_npu(content, target)
        except CompilerError as error:
            reasons.append(str(error))
        else:
            left, faults = _compiler_verdict(model, compiled)
            reasons += faults
    if target.delegate is not None:
        left, faults = _delegate_verdict(model, target.delegate)
        (reasons if target.delegate.required else notes).extend(faults)
    if target.memory is not None and model.subgraphs:
        arena = arena_estimate(model.subgraphs[0])
        reasons += _memory_faults(model, arena, target)
    if not model.subgraphs or not model.subgraphs[0].operations:
        reasons.append("the file has no operation to run")
    return Verdict(
        target=target.name,
        ok=not reasons,
        reasons=tuple(reasons),
        left_on_cpu=left,
        min_runtime=min_runtime,
        notes=tuple(notes),
        arena=arena,
        arena_limit=None if arena is None else target.memory.arena,
        compiled=compiled,
    )


def _runtime_verdict(model: TFLiteModel, target: Target) -> tuple[str | None, list[str]]:
    """Compare operation versions with the runtime that the target has."""
    reasons = []
    for subgraph in model.subgraphs:
        for operation in subgraph.operations:
            site = Site(model, subgraph, operation)
            if operation.custom:
                if not _provided(operation, target):
                    reasons.append(f"{site} is custom: {target.title} does not have it built in")
                continue
            oldest = oldest_release(operation)
            if oldest is None:
                reasons.append(f"{site} has version {operation.version}, known to no release")
            elif target.runtime is not None and version_key(oldest) > version_key(
                target.runtime.operations
            ):
                reasons.append(
                    f"{site} has version {operation.version}, which needs release {oldest}; "
                    f"{target.runtime.package} {target.runtime.version} has those of "
                    f"{target.runtime.operations}"
                )
    return minimum_runtime(model), reasons


def _provided(operation: Operation, target: Target) -> bool:
    """Tell whether the runtime, or the Edge TPU's library, brings a custom operation along."""
    if operation.name == _COMPILED:
        return target.delegate is not None and target.delegate.segments == "first"
    return operation.name == "TFLite_Detection_PostProcess"


def _delegate_verdict(model: TFLiteModel, delegate: Delegate) -> tuple[dict[str, int], list[str]]:
    if not model.subgraphs:
        return {}, []
    faults: dict[int, list[str]] = {}
    main = model.subgraphs[0]
    for operation in main.operations:
        found = _faults(Site(model, main, operation), delegate)
        if found:
            faults[operation.index] = found
    mapped = set(range(len(main.operations))) - set(faults)
    if delegate.segments == "first":
        mapped &= first_segment(main, mapped)
    reasons = []
    for operation in main.operations:
        if operation.index in mapped:
            continue
        site = Site(model, main, operation)
        why = faults.get(operation.index) or ["comes after an operation that stays on the CPU"]
        reasons.append(f"{site} is not taken by the {delegate.name}: it " + "; it ".join(why))
    for subgraph in model.subgraphs[1:] if delegate.required else ():
        if subgraph.operations and subgraph.index in _bodies(model):
            reasons.append(f"subgraph {subgraph.index} ({subgraph.name!r}) is a control-flow body")
    if delegate.segments == "all":
        return {}, reasons
    left = [operation.label for operation in main.operations if operation.index not in mapped]
    return dict(collections.Counter(left)), reasons


def _compiler_verdict(
    model: TFLiteModel, compiled: Compilation
) -> tuple[dict[str, int], list[str]]:
    """Name what a compiler leaves on the CPU, with its reasons and our layers."""
    left, reasons = [], []
    for subgraph in model.subgraphs:
        for operation in subgraph.operations:
            outputs = [subgraph.tensors[i].name for i in operation.outputs if i >= 0]
            why = compiled.left_on_cpu.get(outputs[0]) if outputs else None
            if why is not None:
                left.append(operation.label)
                reasons.append(f"{Site(model, subgraph, operation)} stays on the CPU: {why}")
    return dict(collections.Counter(left)), reasons


def _bodies(model: TFLiteModel) -> set[int]:
    return set(range(len(model.subgraphs))) - set(model.entry_subgraphs())


def _faults(site: Site, delegate: Delegate) -> list[str]:
    name = site.operation.name
    if name == _COMPILED:
        return []
    if name not in delegate.operations:
        return [f"is an operation that the {delegate.name} lacks"]
    found = allowed_types(site, delegate.dtypes)
    own = broken_rules(site, {**delegate.rules, **delegate.operations[name]})
    return [*([found] if found else []), *own]


def first_segment(subgraph: Subgraph, supported: set[int]) -> set[int]:
    """Find the operations of the first segment that a delegate gets.

    The runtime cuts a graph into segments that alternate between the delegate and the CPU: a
    segment takes every operation of its kind whose inputs are ready, and what becomes ready by it;
    then the other kind has its turn (``PartitionGraphIntoIndependentNodeSubsets`` in
    tensorflow/lite/graph_info.cc). A compiler that makes one segment keeps the delegate's first.

    Args:
        subgraph: the graph.
        supported: indices of the operations that the delegate could take.

    Returns:
        Indices of those that it gets.

    Example:
    ```python
    # 0 conv -> 1 argmax -> 2 conv, and 3 pool on conv 0's output; argmax is not supported.
    first_segment(subgraph, {0, 2, 3})  # {0, 3}
    ```
    """
    producers = {i: op.index for op in subgraph.operations for i in op.outputs if i >= 0}
    waits_for = [
        {producers[i] for i in op.inputs if i in producers} - {op.index}
        for op in subgraph.operations
    ]
    done: set[int] = set()
    while len(done) < len(subgraph.operations):
        ready = [i for i, needs in enumerate(waits_for) if i not in done and needs <= done]
        if not ready:  # a cycle: no runtime accepts it
            return set()
        on_delegate = ready[0] in supported
        segment: set[int] = set()
        grown = True
        while grown:
            new = {
                i
                for i, needs in enumerate(waits_for)
                if i not in done | segment
                and (i in supported) == on_delegate
                and needs <= done | segment
            }
            segment |= new
            grown = bool(new)
        if on_delegate:
            return segment
        done |= segment
    return set()


def _memory_faults(model: TFLiteModel, arena: int, target: Target) -> list[str]:
    faults = []
    if model.size > target.memory.flash:
        faults.append(f"the file has {model.size} bytes, the device {target.memory.flash} of flash")
    if arena > target.memory.arena:
        faults.append(
            f"its tensors need about {arena} bytes at once, the arena has {target.memory.arena}"
        )
    return faults


def fixed_content(content: bytes, faults: Callable[[bytes], int]) -> tuple[bytes, tuple[str, ...]]:
    """Apply the rewrites that leave fewer faults.

    Args:
        content: a .tflite file.
        faults: counts what stands against a file.

    Returns:
        (file, changes): the rewritten file, which gives the same outputs as the given one on random
        inputs; or the given one and no changes.

    Raises:
        FlatbufferError: the file is damaged.
        RunError: the given file does not run here, or a rewritten one gives other outputs.
    """
    changes: tuple[str, ...] = ()
    rewritten = content
    left = faults(content)
    for rewrite in REWRITES:
        candidate, made = rewrite(rewritten)
        if made and (count := faults(candidate)) < left:
            rewritten, left = candidate, count
            changes += made
    if changes:
        _require_same(content, rewritten)
    return rewritten, changes


def _require_same(content: bytes, rewritten: bytes) -> None:
    """Run both files on the same inputs."""
    with Children() as one, Children() as other:
        runtime = find_runtime()
        old = load_isolated(content, kernels=_KERNELS, child=one.of(runtime))
        new = load_isolated(rewritten, kernels=_KERNELS, child=other.of(runtime))
        for seed in _SEEDS:
            inputs = random_inputs(old.inputs, seed)
            _require_equal(new, old.run(inputs), new.run(inputs))


def _require_equal(loaded: LoadedModel, expected: list[np.ndarray], found: list[np.ndarray]):
    for port, before, after in zip(loaded.outputs, expected, found, strict=True):
        limit = 0.0
        if before.dtype.kind == "f":
            limit = _FLOAT_TOLERANCE * max(1.0, float(np.abs(before).max(initial=0)))
        difference = np.abs(before.astype(np.float64) - after.astype(np.float64))
        if difference.max(initial=0) > limit:
            raise RunError(
                f"The rewritten file gives other values for {port.name!r}: they differ by up to "
                f"{difference.max():.3g}. Please report this file."
            )
