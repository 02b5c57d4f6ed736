"""Losses on the models' outputs: soft labels, hard labels and logits.

A loss is a small serialisable object that compares the teacher's output with the student's, one
value per example. The ``Distiller`` averages the values with the sample weights and masks.
"""

import abc

import keras

from tfcompress.distillation import arithmetic
from tfcompress.distillation.schedules import (
    Schedule,
    checked_schedule,
    schedule_config,
    schedule_from_config,
    value_at,
)

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

    def projected_width(self, teacher_shapes, student_shapes) -> int | None:
        """Return the width of the learnt projection of the student's feature; ``None``: no need.

        Args:
            teacher_shapes: the static shape of each teacher feature, the batch first.
            student_shapes: the static shape of each student feature.
        """
        return None

    @abc.abstractmethod
    def check(self, teacher_shapes, student_shapes) -> None:
        """Raise a ``ValueError`` unless features of these static shapes can be compared."""

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

    def __init__(self, activation="softmax", output=None):
        if activation not in _ACTIVATIONS:
            raise ValueError(
                f"`activation` must be one of {_ACTIVATIONS}. Received: activation={activation!r}"
            )
        self.activation = activation
        self.output = output

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


@keras.saving.register_keras_serializable(package="tfcompress")
class SoftLabels(OutputLoss):
    """The teacher's softened probabilities as labels.

    The Kullback-Leibler divergence of the outputs at a temperature, times the temperature squared.
    Reference: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015
    (https://arxiv.org/abs/1503.02531).

    Args:
        temperature: what the logits are divided by: a positive number, or a schedule of the step.
        activation: "softmax" or "sigmoid"; see ``OutputLoss``.
        output: which output of a multi-output model; ``None`` for all.

    Raises:
        TypeError: ``temperature`` is neither a number nor a callable.
        ValueError: ``temperature`` is not above 0, or ``activation`` is unknown.

    Example:
    >>> tfc.Distiller(student, teacher, losses=SoftLabels(temperature=4.0))
    """

    name = "soft_labels"

    def __init__(self, temperature: Schedule = 3.0, activation="softmax", output=None):
        super().__init__(activation, output)
        self.temperature = checked_schedule("temperature", temperature, above=True)

    def compare(self, teacher, student, step):
        """Compute the divergence of logits at the step's temperature."""
        divergence = {
            "softmax": arithmetic.soft_label_divergence,
            "sigmoid": arithmetic.soft_binary_divergence,
        }[self.activation]
        return divergence(teacher, student, value_at(self.temperature, step))

    def get_config(self):
        """Return the constructor's arguments."""
        return {"temperature": schedule_config(self.temperature), **super().get_config()}

    @classmethod
    def from_config(cls, config):
        """Rebuild the loss from ``get_config``."""
        return cls(**{**config, "temperature": schedule_from_config(config["temperature"])})


@keras.saving.register_keras_serializable(package="tfcompress")
class HardLabels(OutputLoss):
    """The teacher's decision as the label: cross-entropy with its most probable class.

    Args:
        activation: "softmax", or "sigmoid" for decisions of each unit at a probability of 0.5.
        output: which output of a multi-output model; ``None`` for all.

    Raises:
        ValueError: ``activation`` is unknown.

    Example:
    >>> tfc.Distiller(student, teacher, losses=HardLabels())
    """

    name = "hard_labels"

    def compare(self, teacher, student, step):
        """Compute the cross-entropy with the teacher's decisions."""
        crossentropy = {
            "softmax": arithmetic.hard_label_crossentropy,
            "sigmoid": arithmetic.hard_binary_crossentropy,
        }[self.activation]
        return crossentropy(teacher, student)


@keras.saving.register_keras_serializable(package="tfcompress")
class LogitsMSE(OutputLoss):
    """Mean squared difference of the logits; for regression, of the outputs.

    Of outputs that are probabilities it compares the logits that they stand for: with a softmax
    head, the log-probabilities. Reference: Ba and Caruana, "Do Deep Nets Really Need to be Deep?",
    2014 (https://arxiv.org/abs/1312.6184).

    Args:
        activation: "softmax" or "sigmoid": which head the probabilities come from.
        output: which output of a multi-output model; ``None`` for all.

    Raises:
        ValueError: ``activation`` is unknown.

    Example:
    >>> tfc.Distiller(student, teacher, losses=LogitsMSE())
    """

    name = "logits_mse"

    def compare(self, teacher, student, step):
        """Compute the mean squared difference over the units."""
        return arithmetic.mean_squared_difference(teacher, student)
