"""What a teacher is: a source of signals that is never trained and never saved."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

from tfcompress.distillation.matching import given_names


@dataclasses.dataclass(frozen=True)
class Signals:
    """What a model computes on a batch.

    Attributes:
        outputs: the model's outputs, in its own structure.
        layers: the outputs of the layers asked for, by name.
        names: the names that someone gave to the outputs, flattened; see ``given_names``.
    """

    outputs: Any
    layers: dict[str, Any] = dataclasses.field(default_factory=dict)
    names: Sequence[str | None] | None = None

    def __post_init__(self):
        if self.names is None:
            object.__setattr__(self, "names", given_names(self.outputs))


class Teacher(abc.ABC):
    """Gives signals for a batch, whatever kind of model stands behind it.

    Attributes:
        name: how errors call it.
        heads: how its outputs end, where that can be told; see ``detect_heads``.
        supports_jit: whether XLA can compile it.
    """

    name: str
    heads: Sequence[str | None] = ()
    supports_jit: bool = True

    @abc.abstractmethod
    def signals(self, inputs, layers: Sequence[str]) -> Signals:
        """Run on a batch in inference mode; return outputs and the chosen layers' outputs."""

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Return a text that changes whenever what it teaches may change."""

    def symbolic_signals(self, inputs, layers: Sequence[str]) -> Signals:
        """Return anything with the shapes and dtypes of ``signals``."""
        return self.signals(inputs, layers)

    def check_layers(self, layers: Sequence[str]) -> None:
        """Raise a ``ValueError`` unless the outputs of all these layers can be read."""
        if layers:
            raise ValueError(
                f"Teacher {self.name!r} is no Keras 3 model, so its layers cannot be read. Use a "
                "loss on the outputs, or give the teacher as a Keras model. Received: "
                f"teacher_layer={layers[0]!r}"
            )
