"""What every distillation loss is: a small serialisable object that compares two tensors.

A loss gives one value per example (and position). The ``Distiller`` averages the values with the
sample weights and masks, and multiplies them by the loss's weight.
"""

import abc
from collections.abc import Sequence

import keras

from tfcompress.distillation import arithmetic
from tfcompress.distillation.task import is_binary

_ACTIVATIONS = ("softmax", "sigmoid")


class DistillationLoss(abc.ABC):
    """What every loss has: a name for the logs, and a configuration that rebuilds it."""

    name: str

    @abc.abstractmethod
    def get_config(self) -> dict:
        """Return the constructor's arguments, serialisable."""

    @classmethod
    def from_config(cls, config: dict):
        """Rebuild the loss from ``get_config``."""
        return cls(**config)


class FeatureLoss(DistillationLoss):
    """A loss on the outputs of chosen layers.

    Args:
        student_layer: the name or path of the student's layer, or several.
        teacher_layer: the name or path of the teacher's layer, or as many.
    """

    def __init__(self, student_layer, teacher_layer):
        self.student_layer = student_layer
        self.teacher_layer = teacher_layer

    @property
    def student_layers(self) -> list[str]:
        """The student's layers, as a list."""
        return _as_list(self.student_layer)

    @property
    def teacher_layers(self) -> list[str]:
        """The teacher's layers, as a list."""
        return _as_list(self.teacher_layer)

    def new_projection(self, teacher_shape, student_shape) -> keras.Layer | None:
        """Return a new layer to pass the student's feature through first, or ``None``.

        Args:
            teacher_shape: the static shape of the teacher's first feature, the batch first.
            student_shape: the static shape of the student's first feature.
        """
        return None

    @abc.abstractmethod
    def check(self, teacher_shapes, student_shapes) -> None:
        """Raise a ``ValueError`` unless features of these shapes, projected, can be compared."""

    @abc.abstractmethod
    def values(self, teacher, student):
        """Compare lists of float32 features; return one value per example (and position)."""

    def get_config(self):
        """Return the constructor's arguments."""
        return {"student_layer": self.student_layer, "teacher_layer": self.teacher_layer}


def _as_list(layers):
    return [layers] if isinstance(layers, str) else list(layers)


class OutputLoss(DistillationLoss):
    """A loss on the models' outputs; with several outputs, it is summed over them.

    Args:
        activation: "softmax" where the units of the output are classes that exclude each other,
            "sigmoid" where each unit is a yes or no of its own, a single unit included.
        output: which output of a multi-output model: its key, its position or its name. ``None``
            for all of them.

    Raises:
        ValueError: ``activation`` is neither "softmax" nor "sigmoid".
    """

    compares_classes = True

    def __init__(self, activation="softmax", output=None):
        if activation not in _ACTIVATIONS:
            raise ValueError(
                f"`activation` must be one of {_ACTIVATIONS}. Received: activation={activation!r}"
            )
        self.activation = activation
        self.output = output

    def check(self, name: str, shape: tuple, ends: list) -> None:
        """Raise a ``ValueError`` unless the loss fits an output.

        Args:
            name: the output's name.
            shape: its static shape, the batch first.
            ends: the activations it ends in, of student and teacher, ``None`` where unknown.
        """
        if self.activation == "sigmoid":
            return
        if "sigmoid" in ends:
            problem = "ends in a sigmoid"
        elif self.compares_classes and shape[-1] == 1:
            problem = "has a single unit, over which a softmax is always 1"
        else:
            return
        raise ValueError(
            f"Output {name!r} {problem}. Use {type(self).__name__}(activation='sigmoid'), or "
            f"choose another output with `output`. Received: activation={self.activation!r}"
        )

    def check_task(self, name: str, loss, ends: Sequence[str | None]) -> None:
        """Raise a ``ValueError`` for classes where the student's own loss has yes and no.

        Args:
            name: the output's name.
            loss: what the output is compiled with.
            ends: the activation that the output ends in, in a list; empty where unknown.
        """
        classes = self.activation == "softmax" and self.compares_classes
        if classes and is_binary(loss) and "softmax" not in ends:
            raise ValueError(
                f"Output {name!r} is trained with a binary crossentropy, where each unit is a yes "
                f"or no of its own, but {type(self).__name__} compares classes that exclude each "
                f"other. Use {type(self).__name__}(activation='sigmoid'). "
                f"Received: activation={self.activation!r}, loss={loss!r}"
            )

    @abc.abstractmethod
    def compare(self, teacher, student, step):
        """Compare logits of equal shapes; return one value per example (and position)."""

    def values(self, teacher, student, step, from_logits):
        """Compare two outputs.

        Args:
            teacher: the teacher's output, shape (batch, ..., units).
            student: the student's output, of the same shape.
            step: the training step, a scalar integer, for the schedules.
            from_logits: whether the outputs are logits; else they are probabilities.

        Returns:
            float32 values of shape (batch, ...).
        """
        teacher, student = (keras.ops.cast(x, "float32") for x in (teacher, student))
        if not from_logits:
            teacher, student = (
                arithmetic.logits_of(x, self.activation) for x in (teacher, student)
            )
        return self.compare(teacher, student, step)

    def get_config(self):
        """Return the constructor's arguments."""
        return {"activation": self.activation, "output": self.output}
