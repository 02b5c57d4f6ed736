"""Whether a target runs a file, which operations stay on its CPU, and fixes."""

import collections
import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from exporters.running.runtime import RunError, load_isolated
from exporters.running.tensor_details import random_inputs
from tfcompress.targets.arena import arena_estimate
from tfcompress.targets.rules import Site, allowed_types, broken_rules
from tfcompress.targets.target import (
    Delegate,
    Target,
    load_target,
    minimum_runtime,
    oldest_release,
    version_key,
)
from tfcompress.targets.vela import Compilation, CompilerError, compile_for_npu
from tfcompress.tflite.flatbuffer import read_content, read_model
from tfcompress.tflite.model import Subgraph, TFLiteModel
from tfcompress.tflite.rewriting import REWRITES

_COMPILED = "edgetpu-custom-op"
_COLOURS = 3
_KERNELS = "builtin"
_SEEDS = range(4)
_FLOAT_TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class CompatibilityReport:
    """The compatibility of a file with a target.

    Attributes:
        target: the target's name.
        ok: whether the target runs the file: ``reasons`` is empty.
        reasons: why it does not, each with the operation, its tensor and its layer.
        left_on_cpu: {operation: count} of what the target's accelerator does not run.
        min_runtime: the oldest TensorFlow release whose runtime has every operation in its version
            (tflite-runtime uses the same numbers); None if it does not know an operation.
        notes: what to know before deploying, and what an optional delegate would not run.
        arena: estimated bytes of the tensors on a microcontroller, otherwise None.
        arena_limit: bytes that the microcontroller has for them, otherwise None.
        compiled: the result of the target's compiler; None for a target without one.
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
        """Return everything as JSON-able values, except the bytes of files."""
        report = dataclasses.asdict(self)
        del report["fixed"]
        if self.compiled is not None:
            del report["compiled"]["content"]
        return report

    def to_text(self) -> str:
        """Return text for the terminal: the result, then reasons, changes, notes and the arena."""
        lines = [f"{self.target}: " + ("ok" if self.ok else "does not run the file as it is")]
        if self.left_on_cpu:
            counts = ", ".join(f"{name} x{count}" for name, count in self.left_on_cpu.items())
            lines[0] += f", left on the CPU: {counts}"
        details = [*self.reasons, *self.changes, *(f"note: {note}" for note in self.notes)]
        if self.compiled is not None:
            details.append(self.compiled.to_text())
        if self.arena is not None:
            details.append(f"arena: about {self.arena:,} of {self.arena_limit:,} bytes")
        return "\n".join([*lines, *(f"  {line}" for line in details)])


def check_target(
    source: bytes | str | os.PathLike, target: str | Target, *, fix: bool = False
) -> CompatibilityReport:
    r"""Check whether a target runs a file.

    The file is not run, except with ``fix``, where a child process checks that the rewritten file
    has the same outputs. For an NPU with a compiler, the compiler decides, in its own process.

    Args:
        source: the file's bytes, or its path.
        target: a device of ``tfcompress.targets.list_targets()``, or a ``Target``.
        fix: whether to rewrite the file where that makes it run with the same outputs: dynamic
            range dense layers for runtimes before 2.17, activations of transposed convolutions for
            those before 2.13, shapes computed from a free batch size. The report is then that of
            the rewritten file, ``report.fixed``; the given file is not changed.

    Returns:
        The compatibility report.

    Raises:
        FlatbufferError: the file is damaged.
        ImportError: the target's compiler is not installed.
        OSError: the path cannot be read.
        RunError: with ``fix``, the file does not run here.
        ValueError: the target is unknown.

    Example:
    ```python
    report = check_target("model_int8.tflite", "coral-edgetpu")
    if not report.ok:
        print(*report.reasons, sep="\n")
    ```
    """
    target = load_target(target) if isinstance(target, str) else target
    content, name = read_content(source)
    report = _check(content, target, name)
    if not fix or report.ok:
        return report
    fixed, changes = fixed_content(
        content, lambda candidate: len(_check(candidate, target).reasons)
    )
    if not changes:
        return report
    return dataclasses.replace(_check(fixed, target), changes=changes, fixed=fixed)


def _check(content: bytes, target: Target, name: str | None = None) -> CompatibilityReport:
    """Check a file against the target's runtime, delegate or compiler, and memory."""
    model = read_model(content, name)
    min_runtime, reasons = _runtime_problems(model, target)
    notes = list(target.notes)
    if target.name.startswith("android") and _takes_int8_photos(model):
        notes.append(
            "MediaPipe's image tasks take uint8 and float32 images, not int8: export with "
            'interface="mediapipe" for them.'
        )
    left, arena, compiled = {}, None, None
    if target.compiler is not None:
        try:
            compiled = compile_for_npu(content, target)
        except CompilerError as error:
            reasons.append(str(error))
        else:
            left, problems = _compiler_problems(model, compiled)
            reasons += problems
    if target.delegate is not None:
        left, problems = _delegate_problems(model, target.delegate)
        (reasons if target.delegate.required else notes).extend(problems)
    if target.memory is not None and model.subgraphs:
        arena, memory = arena_estimate(model.subgraphs[0]), target.memory
        if model.size > memory.flash:
            reasons.append(
                f"the file has {model.size:,} bytes, the device {memory.flash:,} of flash"
            )
        if arena > memory.arena:
            reasons.append(
                f"its tensors need about {arena:,} bytes, the arena has {memory.arena:,}"
            )
    if not model.subgraphs or not model.subgraphs[0].operations:
        reasons.append("the file has no operation to run")
    return CompatibilityReport(
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


def _takes_int8_photos(model: TFLiteModel) -> bool:
    """Tell whether the one input of a file is a colour image of int8 numbers."""
    if not model.subgraphs or len(model.subgraphs[0].inputs) != 1:
        return False
    image = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    return image.dtype == "INT8" and len(image.shape) == 4 and image.shape[3] == _COLOURS


def _runtime_problems(model: TFLiteModel, target: Target) -> tuple[str | None, list[str]]:
    """Compare operation versions with the target's runtime."""
    reasons = []
    for subgraph in model.subgraphs:
        for operation in subgraph.operations:
            site = Site(model, subgraph, operation)
            if operation.custom:
                if target.delegate is not None and operation.name in target.delegate.operations:
                    continue
                on_edge_tpu = target.delegate is not None and target.delegate.segments == "first"
                compiled = operation.name == _COMPILED and on_edge_tpu
                if not compiled and operation.name != "TFLite_Detection_PostProcess":
                    reasons.append(
                        f"{site} is a custom operation that {target.title} does not have"
                    )
                continue
            oldest = oldest_release(operation)
            if oldest is None:
                reasons.append(
                    f"{site} has version {operation.version}, which no known release has"
                )
            elif target.runtime is not None and version_key(oldest) > version_key(
                target.runtime.operations
            ):
                reasons.append(
                    f"{site} has version {operation.version}, which needs TensorFlow {oldest} or "
                    f"later; {target.runtime.package} {target.runtime.version} has the operations "
                    f"of {target.runtime.operations}"
                )
    return minimum_runtime(model), reasons


def _delegate_problems(model: TFLiteModel, delegate: Delegate) -> tuple[dict[str, int], list[str]]:
    if not model.subgraphs:
        return {}, []
    main = model.subgraphs[0]
    found = {op.index: _problems(Site(model, main, op), delegate) for op in main.operations}
    problems = {index: reasons for index, reasons in found.items() if reasons}
    mapped = set(range(len(main.operations))) - set(problems)
    if delegate.segments == "first":
        mapped &= first_segment(main, mapped)
    reasons = []
    for operation in main.operations:
        if operation.index in mapped:
            continue
        site = Site(model, main, operation)
        why = problems.get(operation.index) or ["comes after an operation that stays on the CPU"]
        reasons.append(f"{site} does not run on the {delegate.name}: it " + "; it ".join(why))
    entries = model.entry_subgraphs()
    for subgraph in model.subgraphs[1:] if delegate.required else ():
        if subgraph.operations and subgraph.index not in entries:
            reasons.append(
                f"subgraph {subgraph.index} ({subgraph.name!r}) is the body of a loop or condition"
            )
    if delegate.segments == "all":
        return {}, reasons
    left = [operation.label for operation in main.operations if operation.index not in mapped]
    return dict(collections.Counter(left)), reasons


def _compiler_problems(
    model: TFLiteModel, compiled: Compilation
) -> tuple[dict[str, int], list[str]]:
    """Return what a compiler leaves on the CPU, and why."""
    left, reasons = [], []
    for subgraph in model.subgraphs:
        for operation in subgraph.operations:
            outputs = [subgraph.tensors[i].name for i in operation.outputs if i >= 0]
            why = compiled.left_on_cpu.get(outputs[0]) if outputs else None
            if why is not None:
                left.append(operation.label)
                reasons.append(f"{Site(model, subgraph, operation)} stays on the CPU: {why}")
    return dict(collections.Counter(left)), reasons


def _problems(site: Site, delegate: Delegate) -> list[str]:
    name = site.operation.name
    if name == _COMPILED:
        return []
    if name not in delegate.operations:
        return [f"is an operation that the {delegate.name} does not have"]
    found = allowed_types(site, delegate.dtypes)
    own = broken_rules(site, {**delegate.rules, **delegate.operations[name]})
    return [*([found] if found else []), *own]


def first_segment(subgraph: Subgraph, supported: set[int]) -> set[int]:
    """Return the operations of the first segment of a graph that a delegate gets.

    The runtime cuts a graph into segments that alternate between the delegate and the CPU: each
    takes all operations of its kind whose inputs are ready (``PartitionGraphIntoIndependentNode
    Subsets`` in tensorflow/lite/graph_info.cc). A compiler that makes one segment keeps the first:
    of 0 conv -> 1 argmax -> 2 conv, and 3 pool after 0, without argmax, it gets {0, 3}.
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


def fixed_content(
    content: bytes, count_problems: Callable[[bytes], int]
) -> tuple[bytes, tuple[str, ...]]:
    """Apply the rewrites that leave fewer problems; return the file and the changes."""
    changes: tuple[str, ...] = ()
    rewritten = content
    left = count_problems(content)
    for rewrite in REWRITES:
        candidate, made = rewrite(rewritten)
        if made and (count := count_problems(candidate)) < left:
            rewritten, left = candidate, count
            changes += made
    if changes:
        _require_same(content, rewritten)
    return rewritten, changes


def _require_same(content: bytes, rewritten: bytes) -> None:
    """Check that both files give the same outputs on random inputs."""
    with (
        load_isolated(content, kernels=_KERNELS) as old,
        load_isolated(rewritten, kernels=_KERNELS) as new,
    ):
        for seed in _SEEDS:
            inputs = random_inputs(old.inputs, seed)
            results = zip(new.outputs, old.run(inputs), new.run(inputs), strict=True)
            for details, before, after in results:
                limit = 0.0
                if before.dtype.kind == "f":
                    limit = _FLOAT_TOLERANCE * max(1.0, float(np.abs(before).max(initial=0)))
                largest = np.abs(before.astype(float) - after.astype(float)).max(initial=0)
                if largest > limit:
                    raise RunError(
                        f"The rewritten file gives other values for {details.name!r}: they differ "
                        f"by up to {largest:.3g}. Please report this file."
                    )
