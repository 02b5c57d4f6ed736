"""Losses on the models' outputs: soft labels, hard labels and logits."""

import keras

from tfcompress.distillation import arithmetic
from tfcompress.distillation.base import OutputLoss
from tfcompress.distillation.schedules import (
    Schedule,
    checked_schedule,
    schedule_config,
    schedule_from_config,
    value_at,
)


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
    compares_classes = False

    def compare(self, teacher, student, step):
        """Compute the mean squared difference over the units."""
        return arithmetic.mean_squared_difference(teacher, student)
