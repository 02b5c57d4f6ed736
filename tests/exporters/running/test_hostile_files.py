"""Files from anywhere: handled, or refused with a clear message; never a crash, never a hang."""

import re
import time

import numpy as np
import pytest
import toy_files

from exporters.compatibility import check_target
from exporters.inspection import inspect
from exporters.running.runtime import Children, Limits, RunError, find_runtime, load_isolated
from exporters.running.tensor_details import random_inputs
from exporters.validation import validate
from tfcompress.targets import list_targets, load_target
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import FlatbufferError

LIMITS = Limits(seconds=20, memory=1 << 30)
COUNT = 500
# Those with a compiler run it: a process for each file is too much here.
TARGETS = [name for name in list_targets() if load_target(name).compiler is None]
# One of each kind of odd file, by what is expected of running it.
RUNS = ("add", "dynamic_shapes", "nested_while", "string_input_model", "zero_size_constant")
REFUSED = ("custom_sinh", "add_shared_tensors", "segment_sum_invalid_buffer", "test_model")


def examine(content: bytes) -> str | None:
    """Do all that reads a file without running it; return why it was refused, if it was."""
    try:
        report = inspect(content)
        report.to_text(), report.to_svg(), report.to_json()
        for target in TARGETS:
            check_target(content, target)
    except FlatbufferError as error:
        return str(error)
    return None


def run(content: bytes, children: Children, kernels: str = "builtin") -> tuple[str, str]:
    """Run a file in a child process; return what happened, and why."""
    try:
        child = children.of(find_runtime())
        loaded = load_isolated(content, kernels=kernels, child=child)
        loaded.run(random_inputs(loaded.inputs, seed=0))
    except (FlatbufferError, RunError) as error:
        return type(error).__name__, str(error)
    return "ran", "it ran to the end"


def clear(reason: str) -> bool:
    """Tell whether a message says something to a reader: words, not a bare number or nothing."""
    return len(re.findall("[A-Za-z]{3,}", reason)) >= 3


def damaged(content: bytes, generator: np.random.Generator) -> bytes:
    """Cut a file short, or flip bits in it: anywhere, or in its tables at the front."""
    kind = generator.integers(3)
    if kind == 0:
        return content[: generator.integers(8, len(content))]
    changed = bytearray(content)
    end = len(content) if kind == 1 else min(len(content), 2000)
    for place in generator.integers(8, end, generator.integers(1, 9)):
        changed[place] ^= 1 << generator.integers(8)
    return bytes(changed)


def odd_files(shared):
    return sorted((shared / "models" / "litert_testdata").glob("*.bin"))


def test_reading_the_runtimes_own_odd_files(shared):
    reasons = {path.name: examine(path.read_bytes()) for path in odd_files(shared)}
    assert len(reasons) > 40
    refused = {name: reason for name, reason in reasons.items() if reason is not None}
    assert set(refused) == {"test_model_broken.bin"}
    assert "not a .tflite file" in refused["test_model_broken.bin"]


def test_the_compiler_judges_the_runtimes_own_odd_files(shared):
    for path in odd_files(shared):
        if path.name != "test_model_broken.bin":
            verdict = check_target(path, "ethos-u55-128")
            assert verdict.ok == (not verdict.reasons)
            assert verdict.ok or all(map(clear, verdict.reasons)), path.name


@pytest.mark.process
def test_running_the_runtimes_own_odd_files(shared):
    begin = time.perf_counter()
    with Children(LIMITS) as children:
        happened = {
            path.stem: run(path.read_bytes(), children)
            for path in odd_files(shared)
            if "huge" not in path.name  # they ask for gigabytes: below
        }
    assert time.perf_counter() - begin < 60
    assert {happened[name][0] for name in RUNS} == {"ran"}
    assert {happened[name][0] for name in REFUSED} == {"RunError"}
    assert happened["test_model_broken"][0] == "FlatbufferError"
    assert all(clear(reason) for _, reason in happened.values())


@pytest.mark.process
@pytest.mark.parametrize("name", ["conv_huge_im2col", "conv3d_huge_im2col"])
def test_more_memory_than_allowed_is_an_error(shared, name):
    path = shared / "models" / "litert_testdata" / f"{name}.bin"
    with Children(Limits(seconds=20, memory=256 << 20)) as children:
        happened, reason = run(path.read_bytes(), children)
    assert happened == "RunError"
    assert "256 MiB" in reason or "allocate" in reason


@pytest.mark.process
def test_validating_the_runtimes_own_odd_files(shared):
    """Those that take one float input and are too odd to run say so."""
    for name in ("custom_sinh", "softplus_flex", "test_model"):
        path = shared / "models" / "litert_testdata" / f"{name}.bin"
        with pytest.raises((RunError, ValueError), match=r"[a-z]{4}"):
            validate(path, np.zeros((1, 1)), np.zeros((1, 1), np.float32), limits=LIMITS)


@pytest.mark.process
def test_five_hundred_damaged_files_end_in_no_crash():
    """Property: whatever is done to the bytes, this process goes on, in bounded time."""
    generator = np.random.default_rng(2024)
    sources = [toy_files.content("int8"), toy_files.content("float32")]
    begin = time.perf_counter()
    reasons, happened = [], []
    with Children(Limits(seconds=5, memory=512 << 20)) as children:
        for _ in range(COUNT):
            content = damaged(sources[generator.integers(2)], generator)
            reasons.append(examine(content))
            kernels = ("xnnpack", "builtin", "reference")[generator.integers(3)]
            happened.append(run(content, children, kernels))
    assert len(reasons) == len(happened) == COUNT
    assert all(reason is None or clear(reason) for reason in reasons)
    assert all(clear(reason) for _, reason in happened)
    # The damage is real: some files are refused at once, some by the runtime, some still run.
    assert 10 < reasons.count(None) < COUNT - 100
    assert {end for end, _ in happened} == {"ran", "FlatbufferError", "RunError"}
    assert time.perf_counter() - begin < 120


def test_a_damaged_file_is_refused_with_the_reason():
    with pytest.raises(FlatbufferError, match=r"damaged|points at|claim"):
        read_model(toy_files.content("int8")[:1500])


@pytest.mark.parametrize("shape", [(1 << 30, 1 << 30), (0,), (1,) * 40])
def test_huge_shapes_are_numbers_to_whoever_reads(shape):
    import edits

    tree = edits.tree_of(toy_files.content("int8"))
    for tensor in tree.subgraphs[0].tensors[-3:]:
        tensor.shape, tensor.shapeSignature = list(shape), None
    content = edits.packed(tree)
    assert examine(content) is None


@pytest.mark.process
def test_huge_shapes_end_in_an_error_when_run():
    import edits

    tree = edits.tree_of(toy_files.content("float32"))
    tree.subgraphs[0].tensors[0].shape = [1, 1 << 20, 1 << 20, 3]
    with Children(LIMITS) as children:
        assert run_without_inputs(edits.packed(tree), children) == "RunError"


def run_without_inputs(content: bytes, children: Children) -> str:
    try:
        load_isolated(content, kernels="builtin", child=children.of(find_runtime())).time(1)
    except RunError:
        return "RunError"
    return "ran"
