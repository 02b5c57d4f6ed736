"""Comparing student and teacher: a dry run, matching outputs and features, averaging values."""

import dataclasses
from collections.abc import Sequence

import keras

from tfcompress.compat.keras_graphs import keras_mask, output_spec
from tfcompress.distillation.arithmetic import weighted_mean
from tfcompress.distillation.losses import FeatureLoss, OutputLoss
from tfcompress.distillation.signals import (
    Signals,
    captured_outputs,
    given_names,
    match_outputs,
    may_be_equal,
    resolve_from_logits,
    symbolic,
)
from tfcompress.distillation.teachers import Teacher
from tfcompress.keras_graph.wrapper import unwrap


@dataclasses.dataclass(frozen=True)
class OutputComparison:
    """A loss on outputs, summed over them.

    ``outputs`` holds, for each, its position among the student's flattened outputs and among the
    teacher's, and whether it is logits.
    """

    loss: OutputLoss
    outputs: tuple[tuple[int, int, bool], ...]

    def value(self, teacher: Signals, student: Signals, sample_weight, step):
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
class FeatureComparison:
    """A loss on features; a built ``projection``, if any, is applied to the student's first."""

    loss: FeatureLoss
    projection: keras.Layer | None

    def value(self, teacher: Signals, student: Signals, sample_weight, step):
        """Average the loss over the examples.

        Sample weights per output have no meaning for an inner layer and are not used; nor is a mask
        over positions for a loss with one value per example.
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


def symbolic_inputs(model: keras.Model):
    """Return symbolic inputs of a model; None if only a call reveals them."""
    model = unwrap(model)
    if not getattr(model, "inputs", None):
        return None
    inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(symbolic, inputs)


def dry_run(
    teacher: Teacher, student: keras.Model, inputs, layers: tuple[Sequence[str], Sequence[str]]
) -> tuple[Signals, Signals]:
    """Trace both models once on symbolic inputs, without computing anything.

    ``layers`` names the layers to read of the teacher and of the student. Only the static shapes
    and dtypes of the returned signals have a meaning.
    """
    names = []

    def run(x):
        theirs = teacher.symbolic_signals(x, layers[0])
        with captured_outputs(student, layers[1]) as captured:
            outputs = student(x, training=False)
        names[:] = theirs.names, given_names(outputs, student)
        return (theirs.outputs, theirs.layers), (outputs, captured)

    theirs, ours = output_spec(run, inputs)
    return Signals(*theirs, names[0]), Signals(*ours, names[1])


def compare_outputs(
    loss: OutputLoss,
    teacher: Signals,
    student: Signals,
    *,
    names: Sequence[str],
    heads: tuple[Sequence, Sequence],
    from_logits: bool | None,
) -> OutputComparison:
    """Match the outputs that a loss compares, by name if names agree.

    ``names`` are those of the student's outputs, ``heads`` the final activations of both models.
    """
    theirs, ours = keras.tree.flatten(teacher.outputs), keras.tree.flatten(student.outputs)
    if len(theirs) != len(ours):
        raise ValueError(
            f"Student and teacher differ in the number of outputs: the student has {len(ours)}, "
            f"the teacher {len(theirs)}. Pass the teacher as a callable that returns the student's "
            "outputs, for example `lambda x: teacher(x, training=False)[0]`. "
            f"Received: student shapes {_shapes(ours)}, teacher shapes {_shapes(theirs)}"
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


def compare_features(
    loss: FeatureLoss, teacher: Signals, student: Signals, projection: keras.Layer | None
) -> FeatureComparison:
    """Match the features that a loss compares, with a new or known projection if needed."""
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
    """Return the shapes of layers' outputs, one tensor each."""
    for name in names:
        if keras.tree.is_nested(signals.layers[name]):
            raise ValueError(
                f"Layer {name!r} of the {role} returns several tensors: choose a layer that "
                f"returns one. Received: shapes {_shapes(signals.layers[name])}"
            )
    return [tuple(signals.layers[name].shape) for name in names]


def _selected(loss, names):
    """Return the positions of the outputs that a loss compares."""
    if loss.output is None:
        return list(range(len(names)))
    if loss.output in names:
        return [names.index(loss.output)]
    if isinstance(loss.output, int) and 0 <= loss.output < len(names):
        return [loss.output]
    raise ValueError(
        f"`output` must be one of the student's outputs {names} or the position of one. "
        f"Received: output={loss.output!r}"
    )


def _check_same_shape(name, teacher, student):
    """Raise ValueError for outputs of different shapes."""
    if not may_be_equal(teacher, student):
        raise ValueError(
            f"Student and teacher differ in the shape of output {name!r}. Give both models outputs "
            "of the same size, or use a loss on features. Received: student shape "
            f"{tuple(student)}, teacher shape {tuple(teacher)}"
        )


def _float32(x):
    """Return a tensor as float32."""
    return keras.ops.cast(x, "float32")


def _shapes(tensors):
    """Return the static shapes of a structure of tensors."""
    return [tuple(tensor.shape) for tensor in keras.tree.flatten(tensors)]
