"""Rewriting a file until a device takes it: what helps is kept, and shown to mean the same."""

from collections.abc import Callable

import numpy as np

from exporters.running.random_inputs import random_inputs
from exporters.running.runtime import Children, LoadedModel, RunError, find_runtime, load_isolated
from tfcompress.tflite.rewriting import REWRITES

_KERNELS = "builtin"
_SEEDS = range(4)
_FLOAT_TOLERANCE = 1e-5


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
