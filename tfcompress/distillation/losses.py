"""Distillation losses: small serializable objects that compare tensors of student and teacher.

A loss gives one value per example (and position). The ``Distiller`` averages the values with the
sample weights and masks, and multiplies them by the loss's weight. Layers are named by their names
or paths; models are not rebuilt, so nested and subclassed ones work too. Features are
channels-last.
"""

import abc
import inspect
from collections.abc import Sequence
from typing import Any, Self

import keras

from tfcompress.distillation import arithmetic
from tfcompress.distillation.schedules import Schedule, checked_schedule, value_at
from tfcompress.distillation.signals import is_binary, may_be_equal

_ACTIVATIONS = ("softmax", "sigmoid")
_PLAIN = (str, int, float, list, tuple, type(None))


class DistillationLoss(abc.ABC):
    """Base class of the losses: a name for the logs, and a config of the constructor arguments."""

    name: str

    def get_config(self) -> dict:
        """Return the constructor arguments, objects serialized."""
        values = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        return {
            name: value if isinstance(value, _PLAIN) else keras.saving.serialize_keras_object(value)
            for name, value in values.items()
        }

    @classmethod
    def from_config(cls, config: dict) -> Self:
        """Create the loss from its config."""
        return cls(
            **{
                name: keras.saving.deserialize_keras_object(value)
                if isinstance(value, dict)
                else value
                for name, value in config.items()
            }
        )


class FeatureLoss(DistillationLoss):
    """A loss on the outputs of one or several layers of student and teacher."""

    def __init__(self, student_layer: str | Sequence[str], teacher_layer: str | Sequence[str]):
        self.student_layer = student_layer
        self.teacher_layer = teacher_layer

    @property
    def student_layers(self) -> list[str]:
        """The student's layers as a list."""
        return _as_list(self.student_layer)

    @property
    def teacher_layers(self) -> list[str]:
        """The teacher's layers as a list."""
        return _as_list(self.teacher_layer)

    def new_projection(self, teacher_shape: tuple, student_shape: tuple) -> keras.Layer | None:
        """Return a new layer for the student's first feature, or None; shapes include the batch."""
        return None

    @abc.abstractmethod
    def check(self, teacher_shapes: list[tuple], student_shapes: list[tuple]) -> None:
        """Raise ValueError unless features of these shapes, projected, can be compared."""

    @abc.abstractmethod
    def values(self, teacher: Any, student: Any) -> Any:
        """Compare lists of float32 features; return one value per example (and position)."""


def _as_list(layers):
    """Return one or several layers as a list."""
    return [layers] if isinstance(layers, str) else list(layers)


class OutputLoss(DistillationLoss):
    """A loss on the outputs of student and teacher, summed over several outputs.

    ``activation`` is "softmax" for exclusive classes, "sigmoid" for independent units. ``output``
    is one output of a multi-output model (key, position or name); None for all of them.
    """

    compares_classes = True

    def __init__(self, activation: str = "softmax", output: str | None = None):
        if activation not in _ACTIVATIONS:
            raise ValueError(
                f"`activation` must be one of {_ACTIVATIONS}. Received: activation={activation!r}"
            )
        self.activation = activation
        self.output = output

    def check(self, name: str, shape: tuple, heads: list) -> None:
        """Raise ValueError unless the loss fits an output with these final activations."""
        if self.activation == "sigmoid":
            return
        regression = ""
        if "sigmoid" in heads:
            problem = "ends in a sigmoid"
        elif self.compares_classes and shape[-1] == 1:
            problem = "has a single unit, over which a softmax is always 1"
            regression = " LogitsMSE() for a regression,"
        else:
            return
        raise ValueError(
            f"Output {name!r} {problem}. Use {type(self).__name__}(activation='sigmoid'),"
            f"{regression} or choose another output with `output`. "
            f"Received: activation={self.activation!r}"
        )

    def check_task(self, name: str, loss: Any, heads: Sequence[str | None]) -> None:
        """Raise ValueError for exclusive classes if the student's own loss is binary."""
        classes = self.activation == "softmax" and self.compares_classes
        if classes and is_binary(loss) and "softmax" not in heads:
            raise ValueError(
                f"Output {name!r} is trained with a binary crossentropy, whose units are "
                f"independent, but {type(self).__name__} compares exclusive classes. Use "
                f"{type(self).__name__}(activation='sigmoid'). "
                f"Received: activation={self.activation!r}, loss={loss!r}"
            )

    @abc.abstractmethod
    def compare(self, teacher: Any, student: Any, step: Any) -> Any:
        """Compare logits of equal shapes; return one value per example (and position)."""

    def values(self, teacher: Any, student: Any, step: Any, from_logits: bool | None) -> Any:
        """Compare outputs (batch, ..., units), logits or probabilities; return float32 values."""
        teacher, student = (keras.ops.cast(x, "float32") for x in (teacher, student))
        if not from_logits:
            teacher, student = (
                arithmetic.logits_of(x, self.activation) for x in (teacher, student)
            )
        return self.compare(teacher, student, step)


@keras.saving.register_keras_serializable(package="tfcompress")
class SoftLabels(OutputLoss):
    """Train on the teacher's softened probabilities.

    The Kullback-Leibler divergence of the outputs at a temperature, times the temperature squared.
    Reference: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015
    (https://arxiv.org/abs/1503.02531).

    Args:
        temperature: divides the logits: a positive number, or a schedule of the step.
        activation: "softmax" if the units of the output are exclusive classes, "sigmoid" if they
            are independent.
        output: one output of a multi-output model: its key, position or name; ``None`` for all.

    Raises:
        TypeError: ``temperature`` is neither a number nor a callable.
        ValueError: ``temperature`` is not above 0, or ``activation`` is unknown.

    Example:
    >>> tfc.Distiller(student, teacher, losses=SoftLabels(temperature=4.0))
    """

    name = "soft_labels"

    def __init__(
        self, temperature: Schedule = 3.0, activation: str = "softmax", output: str | None = None
    ):
        super().__init__(activation, output)
        self.temperature = checked_schedule("temperature", temperature, above=True)

    def compare(self, teacher: Any, student: Any, step: Any) -> Any:
        """Return the divergence of logits at the step's temperature."""
        divergence = {
            "softmax": arithmetic.soft_label_divergence,
            "sigmoid": arithmetic.soft_binary_divergence,
        }[self.activation]
        return divergence(teacher, student, value_at(self.temperature, step))


@keras.saving.register_keras_serializable(package="tfcompress")
class HardLabels(OutputLoss):
    """Train on the teacher's decision: cross-entropy with its most probable class.

    Args:
        activation: "softmax", or "sigmoid" for decisions of each unit at a probability of 0.5.
        output: one output of a multi-output model: its key, position or name; ``None`` for all.

    Raises:
        ValueError: ``activation`` is unknown.

    Example:
    >>> tfc.Distiller(student, teacher, losses=HardLabels())
    """

    name = "hard_labels"

    def compare(self, teacher: Any, student: Any, step: Any) -> Any:
        """Return the cross-entropy with the teacher's decisions."""
        crossentropy = {
            "softmax": arithmetic.hard_label_crossentropy,
            "sigmoid": arithmetic.hard_binary_crossentropy,
        }[self.activation]
        return crossentropy(teacher, student)


@keras.saving.register_keras_serializable(package="tfcompress")
class LogitsMSE(OutputLoss):
    """Mean squared difference of the logits; for regression, of the outputs.

    Probabilities are converted to logits first; those of a softmax to log-probabilities. Reference:
    Ba and Caruana, "Do Deep Nets Really Need to be Deep?", 2014 (https://arxiv.org/abs/1312.6184).

    Args:
        activation: "softmax" or "sigmoid": the activation that the probabilities come from.
        output: one output of a multi-output model: its key, position or name; ``None`` for all.

    Raises:
        ValueError: ``activation`` is unknown.

    Example:
    >>> tfc.Distiller(student, teacher, losses=LogitsMSE())
    """

    name = "logits_mse"
    compares_classes = False

    def compare(self, teacher: Any, student: Any, step: Any) -> Any:
        """Return the mean squared difference over the units."""
        return arithmetic.mean_squared_difference(teacher, student)


@keras.saving.register_keras_serializable(package="tfcompress")
class Features(FeatureLoss):
    """Mean squared difference of two features, the student's projected if needed.

    If their last axes differ, a learned Dense layer on that axis (for images, a 1x1 convolution)
    maps the student's feature to the teacher's width. The distiller trains and saves the
    projection; the student does not contain it. Reference: Romero et al., "FitNets: Hints for Thin
    Deep Nets", 2015 (https://arxiv.org/abs/1412.6550).

    Args:
        student_layer: the name or path of the student's layer.
        teacher_layer: the name or path of the teacher's layer.
        projection: a Keras layer to use instead of the Dense layer, needed if more than the last
            axis differs (a strided convolution, say). It is copied.
        seed: an integer for the initial values of the Dense layer.

    Raises:
        TypeError: ``projection`` is not a Keras layer.

    Example:
    >>> tfc.Distiller(student, teacher, losses=[SoftLabels(), (Features("conv3", "block5"), 0.1)])
    """

    name = "features"

    def __init__(
        self,
        student_layer: str,
        teacher_layer: str,
        projection: keras.Layer | None = None,
        seed: int | None = None,
    ):
        super().__init__(student_layer, teacher_layer)
        if projection is not None and not isinstance(projection, keras.Layer):
            raise TypeError(
                "`projection` must be a Keras layer, or None for a Dense layer if the widths "
                f"differ. Received: projection={projection!r} of type {type(projection).__name__}"
            )
        self.projection = projection
        self.seed = seed

    def new_projection(self, teacher_shape: tuple, student_shape: tuple) -> keras.Layer | None:
        """Return a copy of the user's projection, or a Dense layer if the widths differ."""
        if self.projection is not None:
            return type(self.projection).from_config(self.projection.get_config())
        if teacher_shape[-1] == student_shape[-1]:
            return None
        initializer = keras.initializers.GlorotUniform(seed=self.seed)
        return keras.layers.Dense(teacher_shape[-1], kernel_initializer=initializer)

    def check(self, teacher_shapes: list[tuple], student_shapes: list[tuple]) -> None:
        """Raise ValueError for features of different shapes."""
        if not may_be_equal(teacher_shapes[0], student_shapes[0]):
            raise ValueError(
                f"{_layers(self)} have shapes that a Dense layer on the last axis cannot match. "
                "Choose layers with equal positions, or pass Features a `projection` layer that "
                f"makes them equal. Received: {_received(self, student_shapes, teacher_shapes)}"
            )

    def values(self, teacher: Any, student: Any) -> Any:
        """Return the mean squared difference over the last axis."""
        return arithmetic.mean_squared_difference(teacher[0], student[0])


@keras.saving.register_keras_serializable(package="tfcompress")
class AttentionTransfer(FeatureLoss):
    """Difference of the positions where two features are active, whatever their channels.

    The loss is the mean squared difference of attention maps: the mean over channels of a power of
    the magnitudes, normalized to length one. Reference: Zagoruyko and Komodakis, "Paying More
    Attention to Attention", 2017 (https://arxiv.org/abs/1612.03928).

    Args:
        student_layer: the name or path of the student's layer, of shape (batch, ..., channels).
        teacher_layer: the name or path of the teacher's layer, with as many positions.
        power: the exponent, above 0.

    Raises:
        TypeError: ``power`` is not a number.
        ValueError: ``power`` is not above 0.

    Example:
    >>> tfc.Distiller(student, teacher, losses={AttentionTransfer("conv3", "block5"): 100.0})
    """

    name = "attention_transfer"

    def __init__(self, student_layer: str, teacher_layer: str, power: float = 2):
        super().__init__(student_layer, teacher_layer)
        checked_schedule("power", power, above=True)
        self.power = power

    def check(self, teacher_shapes: list[tuple], student_shapes: list[tuple]) -> None:
        """Raise ValueError for features without positions, or with different ones."""
        teacher, student = teacher_shapes[0], student_shapes[0]
        if len(student) < 3 or not may_be_equal(teacher[:-1], student[:-1]):
            raise ValueError(
                f"{_layers(self)} must have equal positions, at least one axis of them between "
                "batch and channels. Choose layers of equal spatial size. "
                f"Received: {_received(self, student_shapes, teacher_shapes)}"
            )

    def values(self, teacher: Any, student: Any) -> Any:
        """Return the mean squared difference of the attention maps."""
        return arithmetic.attention_difference(teacher[0], student[0], self.power)


@keras.saving.register_keras_serializable(package="tfcompress")
class Relational(FeatureLoss):
    """Difference of the distances and angles between the examples of a batch.

    Features may have any shapes. The angles need memory of the batch size cubed. Reference: Park,
    Kim, Lu and Cho, "Relational Knowledge Distillation", 2019 (https://arxiv.org/abs/1904.05068);
    the default ratio of the weights is the paper's.

    Args:
        student_layer: the name or path of the student's layer, such as the output layer.
        teacher_layer: the name or path of the teacher's layer.
        distance_weight: weight of the distances between two examples, at least 0.
        angle_weight: weight of the angles between three examples, at least 0.

    Raises:
        TypeError: a weight is not a number.
        ValueError: a weight is below 0.

    Example:
    >>> tfc.Distiller(student, teacher, losses=Relational("embedding", "embedding"))
    """

    name = "relational"

    def __init__(
        self,
        student_layer: str,
        teacher_layer: str,
        distance_weight: float = 1.0,
        angle_weight: float = 2.0,
    ):
        super().__init__(student_layer, teacher_layer)
        checked_schedule("distance_weight", distance_weight)
        checked_schedule("angle_weight", angle_weight)
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def check(self, teacher_shapes: list[tuple], student_shapes: list[tuple]) -> None:
        """Accept every shape: only relations between examples are compared."""

    def values(self, teacher: Any, student: Any) -> Any:
        """Return the weighted sum of the two differences."""
        distances = arithmetic.distance_difference(teacher[0], student[0])
        angles = arithmetic.angle_difference(teacher[0], student[0])
        return self.distance_weight * distances + self.angle_weight * angles


@keras.saving.register_keras_serializable(package="tfcompress")
class FSP(FeatureLoss):
    """Difference of the flow of solution procedure (FSP) between two layers.

    The inner products of two layers' channels over positions form a matrix; the loss is the mean
    squared difference of the matrices of the two models. Reference: Yim, Joo, Bae and Kim, "A Gift
    from Knowledge Distillation", CVPR 2017.

    Args:
        student_layer: the names or paths of two layers, the earlier first. If the later one has
            fewer positions, by a whole factor, the earlier one is max-pooled.
        teacher_layer: the names or paths of two layers with the same numbers of channels.

    Raises:
        ValueError: not two layers each.

    Example:
    >>> tfc.Distiller(student, teacher, losses=FSP(("conv1", "conv2"), ("conv1", "conv4")))
    """

    name = "fsp"

    def __init__(self, student_layer: Sequence[str], teacher_layer: Sequence[str]):
        super().__init__(student_layer, teacher_layer)
        if len(self.student_layers) != 2 or len(self.teacher_layers) != 2:
            raise ValueError(
                "FSP compares the flow from one layer to a later one: pass two layers of each "
                f"model. Received: student_layer={student_layer!r}, teacher_layer={teacher_layer!r}"
            )

    def check(self, teacher_shapes: list[tuple], student_shapes: list[tuple]) -> None:
        """Raise ValueError if channels differ, or positions do not shrink by a whole factor."""
        received = f"Received: {_received(self, student_shapes, teacher_shapes)}"
        if [shape[-1] for shape in teacher_shapes] != [shape[-1] for shape in student_shapes]:
            raise ValueError(
                f"{_layers(self)} must have equal numbers of channels, so that their flow matrices "
                f"have the same shape. Choose other layers. {received}"
            )
        for first, second in (teacher_shapes, student_shapes):
            if len(first) != len(second) or len(first) < 3:
                raise ValueError(
                    f"{_layers(self)} must be features of equal rank with positions between batch "
                    f"and channels. Choose other layers. {received}"
                )
            try:
                arithmetic.pooling_factors(first, second)
            except ValueError as error:
                raise ValueError(f"{_layers(self)}: {error}. {received}") from error

    def values(self, teacher: Any, student: Any) -> Any:
        """Return the mean squared difference of the flow matrices."""
        return arithmetic.flow_difference(teacher, student)


def _layers(loss):
    """Return the layers of a loss for an error message."""
    return (
        f"Student layer {' and '.join(loss.student_layers)!r} and teacher layer "
        f"{' and '.join(loss.teacher_layers)!r}"
    )


def _received(loss, student_shapes, teacher_shapes):
    """Return the shapes for an error message."""
    return (
        f"{type(loss).__name__} with student shapes {student_shapes}, teacher shapes "
        f"{teacher_shapes}"
    )
