"""Several teachers that speak with one voice."""

from collections.abc import Sequence

import keras

from tfcompress.distillation.matching import match_outputs
from tfcompress.distillation.schedules import checked_schedule
from tfcompress.distillation.teacher import Signals, Teacher
from tfcompress.hashing import hash_arrays


class Ensemble(Teacher):
    """The weighted mean of several teachers' outputs.

    Args:
        teachers: the teachers.
        weights: a number above 0 for each; they are divided by their sum.

    Raises:
        TypeError: a weight is no number.
        ValueError: there is no teacher, a weight is not above 0, or some teachers end in
            probabilities and others in logits.
    """

    def __init__(self, teachers: Sequence[Teacher], weights: Sequence[float]):
        if not teachers:
            raise ValueError("`teacher` needs at least one teacher. Received: teacher=[]")
        for weight in weights:
            checked_schedule("teacher weight", weight, above=True)
        self.teachers = tuple(teachers)
        self.weights = tuple(weight / sum(weights) for weight in weights)
        self.name = " + ".join(teacher.name for teacher in teachers)
        self.heads = _common_heads(teachers)
        self.supports_jit = all(teacher.supports_jit for teacher in teachers)

    def signals(self, inputs, layers):
        """Run every teacher and average."""
        signals = [teacher.signals(inputs, ()) for teacher in self.teachers]
        outputs = [keras.tree.flatten(one.outputs) for one in signals]
        names = signals[0].names
        if all(len(flat) == len(outputs[0]) for flat in outputs):
            outputs = [
                _in_order_of(names, outputs[0], one.names, flat)
                for one, flat in zip(signals, outputs, strict=True)
            ]
        self._check_agreement(outputs)
        mean = [
            sum(w * keras.ops.cast(x, "float32") for w, x in zip(self.weights, parts, strict=True))
            for parts in zip(*outputs, strict=True)
        ]
        return Signals(mean[0] if len(mean) == 1 else mean, names=names)

    def check_layers(self, layers):
        """Refuse every layer: features of different models have no mean."""
        if layers:
            raise ValueError(
                f"Several teachers ({self.name}) have no features in common. Use a loss on the "
                f"outputs, or one teacher. Received: teacher_layer={layers[0]!r}"
            )

    def fingerprint(self):
        """Hash the teachers' fingerprints and weights."""
        return hash_arrays(*(t.fingerprint() for t in self.teachers), repr(self.weights))

    def _check_agreement(self, outputs):
        shapes = [[tuple(tensor.shape[1:]) for tensor in tensors] for tensors in outputs]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(
                f"Several teachers ({self.name}) must have outputs of equal shapes. "
                f"Received: shapes {shapes}"
            )


def _in_order_of(names, first, own_names, outputs):
    """Return a teacher's outputs in the order of the first teacher's."""
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (first, outputs)]
    return [outputs[place] for place in match_outputs(names, own_names, shapes)]


def _common_heads(teachers):
    heads = [list(teacher.heads) for teacher in teachers if teacher.heads]
    if any(head != heads[0] for head in heads):
        raise ValueError(
            "Several teachers must all end in logits or all in probabilities, for their outputs "
            f"to have a mean. Received: {[(t.name, list(t.heads)) for t in teachers]}"
        )
    return heads[0] if heads else ()
