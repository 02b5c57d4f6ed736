"""The reports of post-training optimization and of pruning after training."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class StepReport:
    """The result of one step.

    Attributes:
        step: its name.
        changed: what it changed: paths of layers, or sets of them.
        left: the reason for each layer that it did not change, by path.
    """

    step: str
    changed: tuple[str, ...]
    left: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class LayerNoise:
    """The signal-to-noise ratio of a quantized layer on the representative data.

    Attributes:
        path: the layer; "outputs" for the outputs of the model.
        before: the ratio in dB before the optimization; infinite if nothing is rounded.
        after: the ratio in dB afterwards.
    """

    path: str
    before: float
    after: float


@dataclasses.dataclass(frozen=True)
class RepairReport:
    """The result of a post-training optimization.

    Attributes:
        steps: the steps, in order.
        layers: the linear layers in the order of the model.
        outputs: the outputs of the model, compared with those of the original.
    """

    steps: tuple[StepReport, ...]
    layers: tuple[LayerNoise, ...]
    outputs: LayerNoise

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data, infinite ratios as None."""

        def noise(layer: LayerNoise) -> dict[str, Any]:
            ratios = {"before": layer.before, "after": layer.after}
            return {
                "path": layer.path,
                **{key: value if math.isfinite(value) else None for key, value in ratios.items()},
            }

        return {
            "steps": [
                {"step": step.step, "changed": list(step.changed), "left": dict(step.left)}
                for step in self.steps
            ],
            "layers": [noise(layer) for layer in self.layers],
            "outputs": noise(self.outputs),
        }

    def __str__(self) -> str:
        lines = []
        for step in self.steps:
            lines.append(f"{step.step}: {len(step.changed)} changed, {len(step.left)} unchanged")
            lines.extend(f"  {path}: {reason}" for path, reason in step.left.items())
        lines.append(f"{'signal-to-noise ratio, dB':<44}{'before':>8}{'after':>8}")
        for layer in (*self.layers, self.outputs):
            lines.append(f"{layer.path[-44:]:<44}{layer.before:>8.1f}{layer.after:>8.1f}")
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class PrunedLayer:
    """A layer that was pruned after training.

    Attributes:
        path: the layer.
        sparsity: the fraction of zeros in its kernel.
        decibels: the signal-to-noise ratio of its outputs on the representative data, compared with
            those of the dense model; infinite if they are the same.
    """

    path: str
    sparsity: float
    decibels: float


@dataclasses.dataclass(frozen=True)
class PruningReport:
    """The result of pruning after training.

    Attributes:
        layers: the pruned layers in the order of the model.
    """

    layers: tuple[PrunedLayer, ...]

    def __str__(self) -> str:
        lines = [f"{'layer':<44}{'sparsity':>9}{'dB':>7}"]
        for layer in self.layers:
            lines.append(f"{layer.path[-44:]:<44}{layer.sparsity:>9.1%}{layer.decibels:>7.1f}")
        return "\n".join(lines)
