"""Comparing what student and teacher say: matching their outputs and features, averaging values."""

import dataclasses
from typing import Any

import keras

from tfcompress.distillation.arithmetic import weighted_mean
from tfcompress.distillation.heads import resolve_from_logits
from tfcompress.distillation.losses import FeatureLoss, OutputLoss
from tfcompress.distillation.teachers import Signals


@dataclasses.dataclass(frozen=True)
class OutputMatch:
    """One output that student and teacher both have.

    Attributes:
        index: its position among the flattened outputs.
        from_logits: whether it is logits or probabilities.
    """

    index: int
    from_logits: bool


def match_outputs(
    loss: OutputLoss,
    teacher: Signals,
    student: Signals,
    *,
    heads: tuple,
    from_logits: bool | None,
    names: list[str],
) -> list[OutputMatch]:
    """Find the outputs that a loss compares.

    Args:
        loss: the loss.
        teacher: the teacher's signals; only shapes are read.
        student: the student's signals; only shapes are read.
        heads: how the outputs of the student and of the teacher end: two lists.
        from_logits: the user's word on them, or ``None``.
        names: the names of the student's outputs, flattened.

    Returns:
        The matches, in the order of the outputs.

    Raises:
        ValueError: the number or the shapes of the outputs differ, the loss wants an output that
            the student does not have, the outputs end in different activations, or a softmax would
            be taken over a single unit or over the units of a sigmoid head.
    """
    theirs, ours = keras.tree.flatten(teacher.outputs), keras.tree.flatten(student.outputs)
    if len(theirs) != len(ours):
        raise ValueError(
            f"Student and teacher disagree on their outputs: the student has {len(ours)}, the "
            f"teacher {len(theirs)}. Give the teacher as a callable that returns the student's "
            f"outputs. Received: student shapes {_shapes(ours)}, teacher shapes {_shapes(theirs)}"
        )
    matches = []
    for index in _selected(loss, names):
        name = names[index]
        _check_same_shape(name, theirs[index].shape, ours[index].shape)
        ends = [part[index] if index < len(part) else None for part in heads]
        _check_activation(loss, name, ours[index].shape, ends)
        matches.append(OutputMatch(index, resolve_from_logits(from_logits, *ends, output=name)))
    return matches


def compare_outputs(loss, matches, teacher, student, *, sample_weight, step):
    """Sum a loss over the outputs it compares, each averaged with its sample weights and mask."""
    theirs, ours = keras.tree.flatten(teacher.outputs), keras.tree.flatten(student.outputs)
    weights = keras.tree.flatten(sample_weight)
    total = 0.0
    for match in matches:
        weight = weights[match.index] if len(weights) == len(ours) else weights[0]
        mine = ours[match.index]
        values = loss.values(theirs[match.index], mine, step, match.from_logits)
        total += weighted_mean(values, weight, getattr(mine, "_keras_mask", None))
    return total


def compare_features(loss: FeatureLoss, teacher, student, sample_weight, projection=None):
    """Average a feature loss over the examples.

    Sample weights given per output have no meaning for a layer between, and are not used here.
    """
    theirs = [_float32(teacher.layers[name]) for name in loss.teacher_layers]
    features = [student.layers[name] for name in loss.student_layers]
    ours = [_float32(x if projection is None else projection(x)) for x in features]
    values = loss.values(theirs, ours)
    mask = getattr(features[0], "_keras_mask", None)
    if mask is not None and len(mask.shape) > len(values.shape):
        mask = None
    if keras.tree.is_nested(sample_weight):
        sample_weight = None
    return weighted_mean(values, sample_weight, mask)


def feature_shapes(names: list[str], layers: dict[str, Any], model: str) -> list[tuple]:
    """Return the static shapes of features.

    Raises:
        ValueError: a layer's output is not a single tensor.
    """
    for name in names:
        if keras.tree.is_nested(layers[name]):
            raise ValueError(
                f"Layer {name!r} of model {model!r} returns several tensors; distil from a layer "
                f"that returns one. Received: {keras.tree.map_structure(_shape, layers[name])}"
            )
    return [_shape(layers[name]) for name in names]


def _selected(loss, names):
    if loss.output is None:
        return range(len(names))
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


def _check_activation(loss, name, shape, ends):
    if loss.activation != "softmax":
        return
    if "sigmoid" in ends:
        problem = "ends in a sigmoid"
    elif shape[-1] == 1 and loss.name != "logits_mse":
        problem = "has a single unit, over which a softmax is always 1"
    else:
        return
    raise ValueError(
        f"Output {name!r} {problem}: use {type(loss).__name__}(activation='sigmoid'). "
        f"Received: activation={loss.activation!r}"
    )


def _float32(x):
    return keras.ops.cast(x, "float32")


def _shape(tensor):
    return tuple(tensor.shape)


def _shapes(tensors):
    return [_shape(tensor) for tensor in tensors]
