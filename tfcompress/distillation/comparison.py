"""Comparing what student and teacher say: matching their outputs and features, averaging values."""

import abc
import dataclasses
from collections.abc import Sequence

import keras

from tfcompress.compat.keras_graphs import keras_mask
from tfcompress.distillation.arithmetic import weighted_mean
from tfcompress.distillation.base import FeatureLoss, OutputLoss
from tfcompress.distillation.heads import resolve_from_logits
from tfcompress.distillation.matching import match_outputs
from tfcompress.distillation.teacher import Signals


class Comparison(abc.ABC):
    """How one loss compares the signals of two given models."""

    @abc.abstractmethod
    def value(self, teacher: Signals, student: Signals, sample_weight, step):
        """Return the loss of a batch, averaged with sample weights and masks, a scalar."""


@dataclasses.dataclass(frozen=True)
class OutputComparison(Comparison):
    """A loss on outputs, summed over them.

    Attributes:
        loss: the loss.
        outputs: (position among the student's flattened outputs, position among the teacher's,
            whether it is logits), for each output.
    """

    loss: OutputLoss
    outputs: tuple[tuple[int, int, bool], ...]

    def value(self, teacher, student, sample_weight, step):
        """Sum the loss over the outputs, each with its own sample weights and mask."""
        theirs, ours = keras.tree.flatten(teacher.outputs), keras.tree.flatten(student.outputs)
        weights = keras.tree.flatten(sample_weight)
        total = 0.0
        for index, place, from_logits in self.outputs:
            weight = weights[index] if len(weights) == len(ours) else weights[0]
            values = self.loss.values(theirs[place], ours[index], step, from_logits)
            total += weighted_mean(values, weight, keras_mask(ours[index]))
        return total


@dataclasses.dataclass(frozen=True)
class FeatureComparison(Comparison):
    """A loss on features.

    Attributes:
        loss: the loss.
        projection: a built layer that the student's features pass first, or ``None``.
    """

    loss: FeatureLoss
    projection: keras.Layer | None

    def value(self, teacher, student, sample_weight, step):
        """Average the loss over the examples.

        Sample weights given per output have no meaning for a layer between, and are not used here;
        nor is a mask over positions by a loss that gives one value per example.
        """
        features = [student.layers[name] for name in self.loss.student_layers]
        mask = keras_mask(features[0])
        if self.projection is not None:
            features = [self.projection(feature) for feature in features]
        theirs = [_float32(teacher.layers[name]) for name in self.loss.teacher_layers]
        values = self.loss.values(theirs, [_float32(feature) for feature in features])
        if mask is not None and len(mask.shape) > len(values.shape):
            mask = None
        if keras.tree.is_nested(sample_weight):
            sample_weight = None
        return weighted_mean(values, sample_weight, mask)


def plan_outputs(
    loss: OutputLoss,
    teacher: Signals,
    student: Signals,
    *,
    names: Sequence[str],
    heads: tuple[Sequence, Sequence],
    from_logits: bool | None,
) -> OutputComparison:
    """Match the outputs of student and teacher that a loss compares, by name where names agree.

    Args:
        loss: the loss.
        teacher: the teacher's signals; only shapes are read.
        student: the student's signals; only shapes are read.
        names: the names of the student's outputs, flattened.
        heads: how the outputs of the student and of the teacher end; see ``detect_heads``.
        from_logits: the user's word on them, or ``None``.

    Raises:
        ValueError: the number or the shapes of the outputs differ, the loss wants an output that
            the student does not have, names of outputs conflict, the outputs end in different
            activations, or an output does not fit the loss's own activation.
    """
    theirs, ours = keras.tree.flatten(teacher.outputs), keras.tree.flatten(student.outputs)
    if len(theirs) != len(ours):
        raise ValueError(
            f"Student and teacher disagree on their outputs: the student has {len(ours)}, the "
            f"teacher {len(theirs)}. Give the teacher as a callable that returns the student's "
            f"outputs. Received: student shapes {_shapes(ours)}, teacher shapes {_shapes(theirs)}"
        )
    places = match_outputs(student.names, teacher.names, (_shapes(ours), _shapes(theirs)))
    outputs = []
    for index in _selected(loss, names):
        name, place = names[index], places[index]
        _check_same_shape(name, theirs[place].shape, ours[index].shape)
        ends = [
            part[at] if at < len(part) else None
            for part, at in zip(heads, (index, place), strict=True)
        ]
        loss.check(name, tuple(ours[index].shape), ends)
        outputs.append((index, place, resolve_from_logits(from_logits, *ends, output=name)))
    return OutputComparison(loss, tuple(outputs))


def plan_features(
    loss: FeatureLoss, teacher: Signals, student: Signals, projection: keras.Layer | None
) -> FeatureComparison:
    """Match the features of student and teacher, with a built projection where they need one.

    Args:
        loss: the loss.
        teacher: the teacher's signals; only shapes are read.
        student: the student's signals; only shapes are read.
        projection: one that was built before, to be used again, or ``None``.

    Raises:
        ValueError: a layer gives several tensors, or the features' shapes do not fit the loss.
    """
    theirs = _feature_shapes(loss.teacher_layers, teacher, "teacher")
    ours = _feature_shapes(loss.student_layers, student, "student")
    if projection is None:
        projection = loss.new_projection(theirs[0], ours[0])
    if projection is not None:
        if not projection.built:
            projection.build(ours[0])
        ours = [projection.compute_output_shape(shape) for shape in ours]
    loss.check(theirs, ours)
    return FeatureComparison(loss, projection)


def _feature_shapes(names, signals, role):
    for name in names:
        if keras.tree.is_nested(signals.layers[name]):
            raise ValueError(
                f"Layer {name!r} of the {role} returns several tensors; distil from a layer that "
                f"returns one. Received: shapes {_shapes(signals.layers[name])}"
            )
    return [tuple(signals.layers[name].shape) for name in names]


def _selected(loss, names):
    if loss.output is None:
        return list(range(len(names)))
    if loss.output in names:
        return [names.index(loss.output)]
    if isinstance(loss.output, int) and 0 <= loss.output < len(names):
        return [loss.output]
    raise ValueError(
        f"`output` must be one of the student's outputs {names} or a position among them. "
        f"Received: output={loss.output!r}"
    )


def _check_same_shape(name, teacher, student):
    known = [(a, b) for a, b in zip(teacher, student, strict=False) if None not in (a, b)]
    if len(teacher) != len(student) or any(a != b for a, b in known):
        raise ValueError(
            f"Student and teacher disagree on output {name!r}: the shapes must be equal. Give the "
            "two models heads of the same size, or use a loss on features. Received: student shape "
            f"{tuple(student)}, teacher shape {tuple(teacher)}"
        )


def _float32(x):
    return keras.ops.cast(x, "float32")


def _shapes(tensors):
    return [tuple(tensor.shape) for tensor in keras.tree.flatten(tensors)]
