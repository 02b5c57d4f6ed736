"""What each layer tolerates: one kernel is changed at a time, and the outputs are compared."""

import contextlib
import dataclasses
import itertools
import json
import math
import os
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from rich.progress import track

from exporters.signatures import output_names
from exporters.task_metric import find_task_metric
from tfcompress.atomic_files import write_atomically
from tfcompress.data import as_called, gather, iterate_inputs
from tfcompress.deprecation import renamed_arguments
from tfcompress.hashing import hash_arrays
from tfcompress.interruption import deferred_interruption, reliable_interruption
from tfcompress.keras_graph.kernels import Kernel, find_kernels
from tfcompress.keras_graph.selection import LayerSelector
from tfcompress.keras_graph.wrapper import require_built
from tfcompress.pruning.masks import count_masked, smallest
from tfcompress.quantization.arithmetic.fake_quantization import fake_quantize_weights

Metric = Callable[[np.ndarray, np.ndarray], float]

_BATCH = 64
_STEP = 0.02  # of a kernel's sparsity
_HIGHEST = 0.98


@dataclasses.dataclass(frozen=True)
class Effect:
    """What one change of one kernel does to a model."""

    path: str  # the kernel
    change: str  # "sparsity" or "bits"
    level: float  # the share of its smallest weights set to zero, or the bits they are rounded to
    weights: int  # how many weights the kernel has
    error: float  # the mean square of the change of the outputs, over that of the outputs
    metric: float | None = None  # the metric with the change; None without labels

    @property
    def sqnr(self) -> float:
        """The signal-to-noise ratio of the outputs in dB; infinite where nothing changed."""
        return math.inf if self.error == 0 else -10.0 * math.log10(self.error)


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """A table of effects.

    Attributes:
        effects: one for each kernel and level, in the order of the model.
        metric: the metric of the model as it is; None without labels.
    """

    effects: tuple[Effect, ...]
    metric: float | None = None

    def of(self, change: str, level: float) -> dict[str, Effect]:
        """Return the effects of one change at one level, by kernel."""
        return {e.path: e for e in self.effects if (e.change, e.level) == (change, level)}

    def only(self, paths: Collection[str]) -> "Sensitivity":
        """Return the table of some kernels."""
        effects = tuple(effect for effect in self.effects if effect.path in paths)
        return dataclasses.replace(self, effects=effects)

    def columns(self) -> list[tuple[str, float]]:
        """Return the changes and levels that were tried, in order."""
        return list(dict.fromkeys((effect.change, effect.level) for effect in self.effects))

    def _rows(self):
        """Yield each kernel's path and its effects, in the order of the columns."""
        columns = [self.of(*column) for column in self.columns()]
        for path in dict.fromkeys(effect.path for effect in self.effects):
            yield path, *(column[path] for column in columns)

    def to_json(self) -> dict[str, Any]:
        """Return the table as plain data."""
        return {
            "metric": self.metric,
            "effects": [dataclasses.asdict(effect) for effect in self.effects],
        }

    def to_text(self) -> str:
        """Return the table: signal-to-noise ratios in dB, and the metric where it is known."""
        heads = [
            f"{level:.0%} zero" if change == "sparsity" else f"{level:.0f} bits"
            for change, level in self.columns()
        ]
        lines = [f"{'kernel':<40}{'weights':>10}" + "".join(f"{head:>18}" for head in heads)]
        for path, *effects in self._rows():
            line = f"{path[-40:]:<40}{effects[0].weights:>10,}"
            for effect in effects:
                sqnr = "exact" if math.isinf(effect.sqnr) else f"{effect.sqnr:.1f} dB"
                metric = "" if effect.metric is None else f" {effect.metric:.3f}"
                line += f"{sqnr + metric:>18}"
            lines.append(line)
        if self.metric is not None:
            lines.append(f"unchanged: {self.metric:.4f}")
        return "\n".join(lines)

    def draw(self, path: str | os.PathLike) -> None:
        """Draw a heat map into an .svg, .png or .pdf file; needs the extra ``report``."""
        from matplotlib.figure import Figure

        columns = self.columns()
        paths, *table = zip(*self._rows(), strict=True)
        values = np.array([[effect.sqnr for effect in column] for column in table]).T
        figure = Figure(figsize=(2.5 + 0.9 * len(columns), 1.5 + 0.28 * len(paths)))
        axes = figure.subplots()
        image = axes.imshow(np.clip(values, -10, 60), aspect="auto", cmap="viridis")
        axes.set_yticks(range(len(paths)), paths, fontsize=7)
        axes.set_xticks(
            range(len(columns)),
            [f"{v:.0%}" if c == "sparsity" else f"{v:.0f} bit" for c, v in columns],
        )
        figure.colorbar(image, label="signal to noise at the outputs, dB")
        figure.tight_layout()
        figure.savefig(path)


@renamed_arguments(most="max_examples")
@reliable_interruption()
def sensitivity(
    model: keras.Model,
    data: Any,
    *,
    sparsities: Sequence[float] = (0.5, 0.75, 0.9),
    bits: Sequence[int] = (8, 4),
    layers: LayerSelector = None,
    metric: Metric | None = None,
    max_examples: int = 256,
    file: str | os.PathLike | None = None,
    progress: bool = True,
) -> Sensitivity:
    """Measure how much the outputs change when one kernel at a time is pruned or rounded.

    Args:
        model: a built Keras model; unchanged afterwards.
        data: examples, with labels for a metric: whatever ``fit`` takes.
        sparsities: shares of each kernel's smallest weights to set to zero, each in (0, 1).
        bits: bits to round each kernel to, with a scale per output channel, 2 to 8.
        layers: which layers: names, a regex, layers or a callable.
        metric: from the first output and the labels to a number; accuracy by default, where the
            labels fit the output.
        max_examples: how many examples to use at most.
        file: where finished work is saved, line by line: an interrupted call resumes from there.
        progress: whether to show a progress bar.

    Returns:
        The table.

    Raises:
        ValueError: the model is not built, ``layers`` selects no kernel, a level is out of its
            range, there is no example, or ``file`` belongs to another model or other data.
        TypeError: ``data`` or ``layers`` is of the wrong kind.

    Example:
    >>> table = tfc.sensitivity(model, (x_test, y_test))
    >>> print(table.to_text())
    """
    require_built(model)
    _check(sparsities, bits)
    kernels = find_kernels(model, layers)
    if not kernels:
        raise ValueError(f"`layers` must select a layer with a kernel. Received: layers={layers!r}")
    inputs, labels = gather(data, max_examples)
    inputs = as_called(inputs)
    batches = list(iterate_inputs(inputs, _BATCH))
    saved = {}
    if file is not None:
        file = pathlib.Path(file)
        work = hash_arrays(*model.get_weights(), *keras.tree.flatten(inputs))
        saved = _saved_effects(file, work)

    def outputs():
        found = [keras.tree.flatten(model.predict_on_batch(batch)) for batch in batches]
        return [np.concatenate(column).astype(np.float64) for column in zip(*found, strict=True)]

    reference = outputs()
    if metric is None:
        labels = _first_labels(model, labels, len(reference))
        task = find_task_metric(reference[0], labels)
        metric = None if isinstance(task, str) else lambda one, known: task.compute([one], known)

    def measured(found):
        return None if metric is None or labels is None else float(metric(found[0], labels))

    energy = sum(float(np.square(output).sum()) for output in reference) or 1.0
    levels = [("sparsity", level) for level in sparsities] + [("bits", level) for level in bits]
    work = [(kernel, *level) for kernel in kernels for level in levels]
    effects = []
    for kernel, change, level in track(work, "sensitivity", disable=not progress):
        effect = saved.get((kernel.path, change, level))
        if effect is None:
            weights = keras.ops.convert_to_numpy(kernel.variable)
            with deferred_interruption():
                try:
                    kernel.variable.assign(_changed(kernel, weights, change, level))
                    found = outputs()
                finally:
                    kernel.variable.assign(weights)
            pairs = zip(found, reference, strict=True)
            error = sum(float(np.square(one - other).sum()) for one, other in pairs) / energy
            effect = Effect(kernel.path, change, level, kernel.size, error, measured(found))
            if file is not None:
                with file.open("ab", buffering=0) as lines:  # in one piece
                    lines.write(json.dumps(dataclasses.asdict(effect)).encode() + b"\n")
        effects.append(effect)
    return Sensitivity(tuple(effects), measured(reference))


def _changed(kernel: Kernel, weights, change, level):
    if change == "sparsity":
        marked = smallest(np.abs(weights), count_masked(weights.size, level))
        return np.where(marked, 0.0, weights)
    return fake_quantize_weights(weights.astype(np.float32), int(level), kernel.output_axes)


def _check(sparsities, bits):
    if not sparsities and not bits:
        raise ValueError("At least one of `sparsities` and `bits` is needed. Received: neither")
    for level in sparsities:
        if not 0 < level < 1:
            raise ValueError(f"`sparsities` must be in (0, 1). Received: {level!r}")
    for level in bits:
        if not (isinstance(level, int) and 2 <= level <= 8):
            raise ValueError(f"`bits` must be integers from 2 to 8. Received: {level!r}")


def _first_labels(model, labels, outputs: int):
    """Return the labels of the first output; None if it has none."""
    if isinstance(labels, Mapping):
        return labels.get(output_names(model, outputs)[0])
    return labels[0] if isinstance(labels, list | tuple) else labels


def _saved_effects(path: pathlib.Path, work: str) -> dict[tuple, Effect]:
    """Read the effects that an earlier call saved for the same work, or begin a new file."""
    head = {"work": work}
    if not path.exists():
        write_atomically(path, json.dumps(head).encode() + b"\n")
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or json.loads(lines[0]) != head:
        raise ValueError(
            f"{path} holds the sensitivity of another model or of other data: delete it, or choose "
            "another file."
        )
    found = {}
    for line in lines[1:]:
        # An interruption may have cut a line short.
        with contextlib.suppress(ValueError, TypeError):
            effect = Effect(**json.loads(line))
            found[effect.path, effect.change, effect.level] = effect
    return found


def distribute_sparsity(table: Sensitivity, sparsity: float) -> dict[str, float]:
    """Distribute a model's sparsity over its kernels, so that the sum of errors is small.

    From no zeros on, the kernel whose next zeros cost least gets one step more. The result is
    {path of the kernel: its sparsity}.
    """
    levels = sorted(level for change, level in table.columns() if change == "sparsity")
    if len(levels) < 2 or not 0 < sparsity < _HIGHEST:
        raise ValueError(
            f"Distributing sparsity needs `sparsity` in (0, {_HIGHEST}) and a table with at least "
            f"two levels of sparsity. Received: sparsity={sparsity!r}, levels {levels}"
        )
    kernels = {effect.path: effect.weights for effect in table.effects}
    curves = {
        path: [(level, table.of("sparsity", level)[path].error) for level in levels]
        for path in kernels
    }
    steps = dict.fromkeys(kernels, 0)
    needed = sparsity * sum(kernels.values())

    def cost(path):
        here, there = (error_at(curves[path], _STEP * (steps[path] + add)) for add in (0, 1))
        return (there - here) / kernels[path]

    costs = {path: cost(path) for path in kernels}
    while needed > 0:
        path = min(costs, key=costs.get)
        steps[path] += 1
        needed -= _STEP * kernels[path]
        costs[path] = cost(path) if _STEP * (steps[path] + 1) <= _HIGHEST else math.inf
    return {path: round(_STEP * count, 2) for path, count in steps.items()}


def error_at(curve: list[tuple[float, float]], sparsity: float) -> float:
    """Interpolate the error at a sparsity, from a kernel's errors at some levels in order.

    Between levels, and beyond them, the logarithm of the error is linear; below the first level the
    error falls to zero with the square of the sparsity.

    Example:
    >>> error_at([(0.5, 0.01), (0.75, 0.1)], 0.25), error_at([(0.5, 0.01), (0.75, 0.1)], 0.5)
    (0.0025, 0.01)
    """
    first, error = curve[0]
    if sparsity <= first:
        return error * (sparsity / first) ** 2
    least = 1e-12  # a kernel whose zeros change nothing has no logarithm
    pairs = list(itertools.pairwise(curve))
    (a, low), (b, high) = next((p for p in pairs if sparsity <= p[1][0]), pairs[-1])
    low, high = math.log(max(low, least)), math.log(max(high, least))
    return math.exp(low + (high - low) * (sparsity - a) / (b - a))
