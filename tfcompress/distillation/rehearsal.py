"""Running student and teacher on symbolic inputs, to see every disagreement before training."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfcompress.compat.keras_graphs import produced_by
from tfcompress.distillation.capture import captured_outputs
from tfcompress.distillation.matching import given_names
from tfcompress.distillation.teacher import Signals, Teacher
from tfcompress.keras_graph.wrapper import unwrap


def rehearse(
    teacher: Teacher, student: keras.Model, inputs, layers: tuple[Sequence[str], Sequence[str]]
) -> tuple[Signals, Signals]:
    """Trace both models once; nothing is computed and nothing changes.

    Args:
        teacher: the teacher.
        student: the student.
        inputs: ``tf.TensorSpec``s in the structure of the student's inputs.
        layers: the names of the teacher's and of the student's layers to listen to.

    Returns:
        The teacher's and the student's signals, as symbolic tensors: only their static shapes and
        dtypes have a meaning.
    """
    seen = []

    def run(x):
        seen.append(teacher.symbolic_signals(x, layers[0]))
        with captured_outputs(student, layers[1]) as captured:
            outputs = student(x, training=False)
        seen.append(Signals(outputs, captured, given_names(outputs, student)))

    tf.function(run, autograph=False).get_concrete_function(inputs)
    return seen[0], seen[1]


def symbolic_inputs(model: keras.Model):
    """Return the specifications of a model's inputs, or ``None`` where only a call will tell."""
    model = unwrap(model)
    if not getattr(model, "inputs", None):
        return None
    inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), inputs)


def output_names(model: keras.Model, outputs) -> list[str]:
    """Return a name for each output: its key, its layer's name, or else its position."""
    tensors = getattr(unwrap(model), "outputs", None)
    if tensors and not isinstance(outputs, dict):
        return [produced_by(tensor).operation.name for tensor in tensors]
    paths = [path for path, _ in keras.tree.flatten_with_path(outputs)]
    return ["/".join(map(str, path)) or "0" for path in paths]
