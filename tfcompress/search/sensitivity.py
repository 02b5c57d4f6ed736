"""What each layer of a model tolerates: one kernel changed at a time, and the outputs compared."""

import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

import keras
import numpy as np
from rich.progress import track

from tfcompress.atomic_files import write_atomically
from tfcompress.data import as_called, gather, iterate_inputs
from tfcompress.interruption import (
    deferred_interruption,
    reliable_interruption,
)
from tfcompress.keras_graph.kernels import Kernel, find_kernels
from tfcompress.keras_graph.selection import LayerSelector
from tfcompress.keras_graph.wrapper import require_built
from tfcompress.pruning.masks import count_masked, smallest
from tfcompress.quantization.arithmetic.fake_quantization import fake_quantize_weights

Metric = Callable[[np.ndarray, np.ndarray], float]

_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Effect:
    """What one change of one kernel does to a model.

    Attributes:
        path: the kernel.
        change: "sparsity" or "bits".
        level: the share of its smallest weights set to zero, or the bits they are rounded to.
        weights: how many weights the kernel has.
        error: the mean square of the change of the outputs, over that of the outputs.
        metric: the metric with the change; None without labels.
    """

    path: str
    change: str
    level: float
    weights: int
    error: float
    metric: float | None = None

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

    def to_json(self) -> dict[str, Any]:
        """Return the table as plain data."""
        return {
            "metric": self.metric,
            "effects": [dataclasses.asdict(effect) for effect in self.effects],
        }

    def to_text(self) -> str:
        """Return the table: signal-to-noise ratios in dB, and the metric where it is known."""
        columns = self.columns()
        heads = [
            f"{level:.0%} zero" if c == "sparsity" else f"{level:.0f} bits" for c, level in columns
        ]
        lines = [f"{'kernel':<40}{'weights':>10}" + "".join(f"{head:>18}" for head in heads)]
        for path in dict.fromkeys(effect.path for effect in self.effects):
            found = [self.of(*column)[path] for column in columns]
            cells = "".join(f"{_cell(effect):>18}" for effect in found)
            lines.append(f"{path[-40:]:<40}{found[0].weights:>10,}{cells}")
        if self.metric is not None:
            lines.append(f"unchanged: {self.metric:.4f}")
        return "\n".join(lines)

    def draw(self, path) -> None:
        """Draw the table as a heat map into a file (needs the extra ``report``).

        Args:
            path: an .svg, .png or .pdf file.
        """
        from matplotlib.figure import Figure

        columns = self.columns()
        paths = list(dict.fromkeys(effect.path for effect in self.effects))
        values = np.array([[self.of(*column)[p].sqnr for column in columns] for p in paths])
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


@reliable_interruption()
def sensitivity(
    model: keras.Model,
    data,
    *,
    sparsities: Sequence[float] = (0.5, 0.75, 0.9),
    bits: Sequence[int] = (8, 4),
    layers: LayerSelector = None,
    metric: Metric | None = None,
    most: int = 256,
    file=None,
    progress: bool = True,
) -> Sensitivity:
    """Change one kernel at a time and see what becomes of a model's outputs.

    Args:
        model: a built Keras model; unchanged afterwards.
        data: examples, with labels for a metric: whatever ``fit`` takes.
        sparsities: shares of each kernel's smallest weights that are set to zero, each in (0, 1).
        bits: bits that each kernel is rounded to, with a scale per output channel, 2 to 8.
        layers: which layers; see ``select_layers``.
        metric: from the first output and the labels to a number; accuracy by default, where there
            are labels.
        most: examples at most.
        file: where finished work is noted, a line each: an interrupted call goes on from there.
        progress: whether to show a bar.

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
        raise ValueError(f"`layers` selects no layer with a kernel. Received: layers={layers!r}")
    inputs, labels = gather(data, most)
    inputs = as_called(inputs)
    batches = list(iterate_inputs(inputs, _BATCH))
    notes = _Notes(file, model, inputs)

    def outputs():
        found = [keras.tree.flatten(model.predict_on_batch(batch)) for batch in batches]
        return [np.concatenate(column).astype(np.float64) for column in zip(*found, strict=True)]

    def judged(found):
        return None if labels is None else float((metric or _accuracy)(found[0], labels))

    reference = outputs()
    energy = sum(float(np.square(output).sum()) for output in reference) or 1.0
    levels = [("sparsity", level) for level in sparsities] + [("bits", level) for level in bits]
    work = [(kernel, *level) for kernel in kernels for level in levels]
    effects = []
    for kernel, change, level in track(work, "sensitivity", disable=not progress):
        effect = notes.find(kernel.path, change, level)
        if effect is None:
            weights = keras.ops.convert_to_numpy(kernel.variable)
            with deferred_interruption():
                try:
                    kernel.variable.assign(_changed(kernel, weights, change, level))
                    found = outputs()
                finally:
                    kernel.variable.assign(weights)
            error = sum(
                float(np.square(one - other).sum())
                for one, other in zip(found, reference, strict=True)
            )
            effect = Effect(kernel.path, change, level, kernel.size, error / energy, judged(found))
            notes.add(effect)
        effects.append(effect)
    return Sensitivity(tuple(effects), judged(reference))


def _changed(kernel: Kernel, weights, change, level):
    if change == "sparsity":
        marked = smallest(np.abs(weights), count_masked(weights.size, level))
        return np.where(marked, 0.0, weights)
    return fake_quantize_weights(weights.astype(np.float32), int(level), kernel.output_axes)


def _check(sparsities, bits):
    if not sparsities and not bits:
        raise ValueError("At least one of `sparsities` and `bits` is needed. Received: none")
    for level in sparsities:
        if not 0 < level < 1:
            raise ValueError(f"`sparsities` lie in (0, 1). Received: {level!r}")
    for level in bits:
        if not (isinstance(level, int) and 2 <= level <= 8):
            raise ValueError(f"`bits` are integers from 2 to 8. Received: {level!r}")


def _accuracy(scores, labels):
    labels = np.asarray(labels)
    if labels.ndim == scores.ndim and labels.shape[-1] == scores.shape[-1] > 1:
        labels = labels.argmax(-1)
    found = scores.argmax(-1) if scores.shape[-1] > 1 else (scores[..., 0] > 0.5)
    return np.mean(found.ravel() == labels.ravel())


def _cell(effect):
    sqnr = "exact" if math.isinf(effect.sqnr) else f"{effect.sqnr:.1f} dB"
    return sqnr if effect.metric is None else f"{sqnr} {effect.metric:.3f}"


class _Notes:
    """The finished effects of a call, in a file that a later call goes on from."""

    def __init__(self, file, model, inputs):
        self._path = None if file is None else pathlib.Path(file)
        self._found = {}
        if self._path is None:
            return
        work = hashlib.sha256()
        for array in (*model.get_weights(), *keras.tree.flatten(inputs)):
            work.update(np.ascontiguousarray(array).tobytes())
        head = {"work": work.hexdigest()}
        if not self._path.exists():
            write_atomically(self._path, json.dumps(head).encode() + b"\n")
            return
        lines = self._path.read_text(encoding="utf-8").splitlines()
        if not lines or json.loads(lines[0]) != head:
            raise ValueError(
                f"{self._path} holds the sensitivity of another model or of other data: remove it, "
                "or choose another file."
            )
        for line in lines[1:]:
            try:
                effect = Effect(**json.loads(line))
            except (ValueError, TypeError):
                continue  # a line that an interruption cut short
            self._found[effect.path, effect.change, effect.level] = effect

    def find(self, *key):
        return self._found.get(key)

    def add(self, effect):
        if self._path is not None:
            line = json.dumps(dataclasses.asdict(effect)).encode() + b"\n"
            with self._path.open("ab", buffering=0) as file:
                file.write(line)  # in one piece
