"""Teachers: what gives outputs for a batch, whatever kind of model it is."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from tfcompress.distillation.capture import captured_outputs, find_layer
from tfcompress.distillation.heads import detect_heads
from tfcompress.graph.wrapper import unwrap


@dataclasses.dataclass(frozen=True)
class Signals:
    """What a model computes on a batch.

    Attributes:
        outputs: the model's outputs, in its own structure.
        layers: the outputs of the layers asked for, by name.
    """

    outputs: Any
    layers: dict[str, Any] = dataclasses.field(default_factory=dict)


class Teacher(abc.ABC):
    """A source of signals that is never trained and never saved.

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

    def check_layers(self, layers: Sequence[str]) -> None:
        """Raise a ``ValueError`` unless the outputs of all these layers can be read."""
        if layers:
            raise ValueError(
                f"Teacher {self.name!r} is no Keras 3 model, so its layers cannot be read. Use a "
                "loss on the outputs, or give the teacher as a Keras model. Received: "
                f"teacher_layer={layers[0]!r}"
            )


class KerasTeacher(Teacher):
    """A Keras model as it is: its flags, its weights and its statistics are left alone.

    Args:
        model: a built Keras model.

    Raises:
        ValueError: the model is not built, or a weight is NaN or infinite.
    """

    def __init__(self, model: keras.Model):
        if not model.built:
            raise ValueError(
                f"Teacher {model.name!r} is not built, so it has nothing to teach. Train it or load"
                " its weights first. Received: teacher.built=False"
            )
        _check_finite(model)
        self.model = model
        self.name = model.name
        self.heads = detect_heads(model)
        self.supports_jit = all(layer.supports_jit for layer in model._flatten_layers())

    def check_layers(self, layers):
        """Raise a ``ValueError`` for a layer that the model does not have."""
        for name in layers:
            find_layer(self.model, name)

    def signals(self, inputs, layers):
        """Run the model with ``training=False``."""
        with captured_outputs(self.model, layers) as captured:
            outputs = self.model(inputs, training=False)
        return Signals(outputs, captured)


def frozen_copy(student: keras.Model) -> keras.Model:
    """Copy the float model inside a student, so that it can teach what becomes of the student.

    Args:
        student: a built model; inside a wrapper, the user's own model is copied.

    Returns:
        A model of the same architecture with copies of the weights.

    Raises:
        ValueError: the model cannot be cloned, because it has no ``get_config`` or builds its
            weights only when it is called.
    """
    model = unwrap(student)
    copy = keras.models.clone_model(model)
    if len(copy.weights) != len(model.weights):
        raise ValueError(
            f"Model {model.name!r} cannot be copied: its clone has {len(copy.weights)} weights, not"
            f" {len(model.weights)}. Make a copy yourself, call it once on a batch, give it the "
            "weights, and pass it as the teacher. Received: teacher='self'"
        )
    copy.set_weights(model.get_weights())
    return copy


def as_teacher(teacher) -> Teacher:
    """Adapt whatever the user calls a teacher.

    Args:
        teacher: a Keras model, or a ``Teacher``.

    Returns:
        A ``Teacher``.

    Raises:
        TypeError: ``teacher`` is none of these.
    """
    if isinstance(teacher, Teacher):
        return teacher
    if isinstance(teacher, keras.Model):
        return KerasTeacher(teacher)
    raise TypeError(
        f"`teacher` must be a Keras model. Received: teacher={teacher!r} of type "
        f"{type(teacher).__name__}"
    )


def _check_finite(model):
    for variable in model.weights:
        if not keras.ops.all(keras.ops.isfinite(variable)):
            raise ValueError(
                f"Teacher {model.name!r} has NaN or infinite values in its weight "
                f"{variable.path!r}, so it would teach NaN. Train it again or restore its weights."
            )
