"""Teachers that are Python objects, and how to make a teacher of whatever the user has."""

import json

import keras
import numpy as np
import tensorflow as tf

from tfcompress.compat.keras_layers import all_layers
from tfcompress.distillation.capture import captured_outputs, find_layer
from tfcompress.distillation.ensemble import Ensemble
from tfcompress.distillation.file_teachers import as_path, file_teacher
from tfcompress.distillation.heads import detect_heads
from tfcompress.distillation.matching import given_names
from tfcompress.distillation.teacher import Signals, Teacher
from tfcompress.hashing import hash_arrays
from tfcompress.keras_graph.wrapper import unwrap
from tfcompress.legacy.wrappers import is_tf_keras_model

_ROWS = 3  # of a rehearsal


class KerasTeacher(Teacher):
    """A Keras model as it is: its flags, its weights and its statistics are left alone.

    Args:
        model: a built Keras model.

    Raises:
        ValueError: the model is not built, or a weight is NaN or infinite.
    """

    def __init__(self, model: keras.Model):
        _check_built(model)
        _check_finite(model)
        self.model = model
        self.name = model.name
        self.heads = detect_heads(model)
        self.supports_jit = all(layer.supports_jit for layer in all_layers(model))

    def check_layers(self, layers):
        """Raise a ``ValueError`` for a layer that the model does not have."""
        for name in layers:
            find_layer(self.model, name)

    def signals(self, inputs, layers):
        """Run the model with ``training=False``."""
        with captured_outputs(self.model, layers) as captured:
            outputs = self.model(inputs, training=False)
        return Signals(outputs, captured, given_names(outputs, self.model))

    def fingerprint(self):
        """Hash the architecture and the weights."""
        return _hash_model(self.model.get_config(), self.model.get_weights())


class TFKerasTeacher(Teacher):
    """A tf_keras (Keras 2) model, run in inference mode.

    Args:
        model: a built tf_keras model.

    Raises:
        ValueError: the model is not built, or a weight is NaN or infinite.
    """

    def __init__(self, model):
        _check_built(model)
        _check_finite(model)
        self.model = model
        self.name = model.name

    def signals(self, inputs, layers):
        """Run the model with ``training=False``."""
        return Signals(self.model(inputs, training=False))

    def fingerprint(self):
        """Hash the architecture and the weights."""
        return _hash_model(self.model.get_config(), self.model.get_weights())


class CallableTeacher(Teacher):
    """A function from a batch to outputs.

    Args:
        function: is called with the student's inputs inside the compiled step.
    """

    def __init__(self, function):
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)

    def signals(self, inputs, layers):
        """Call the function."""
        outputs = self._called(inputs)
        examples = tf.shape(keras.tree.flatten(inputs)[0])[0]
        message = f"{self._wants_rows} Received: another number of rows"
        same = [
            tf.debugging.assert_equal(tf.shape(tensor)[0], examples, message)
            for tensor in keras.tree.flatten(outputs)
        ]
        with tf.control_dependencies([check for check in same if check is not None]):
            return Signals(keras.tree.map_structure(tf.identity, outputs))

    def symbolic_signals(self, inputs, layers):
        """Call the function, on a batch of a known size too, to see that its rows are as many."""
        if all(tensor.shape[0] is None for tensor in keras.tree.flatten(inputs)):
            some = keras.tree.map_structure(
                lambda tensor: tf.TensorSpec([_ROWS, *tensor.shape[1:]], tensor.dtype), inputs
            )
            traced = tf.function(self._called, autograph=False).get_concrete_function(some)
            for tensor in traced.outputs:
                if tensor.shape.rank and tensor.shape[0] not in (None, _ROWS):
                    raise ValueError(
                        f"{self._wants_rows} Received: shape {tuple(tensor.shape)} for a batch of "
                        f"{_ROWS}"
                    )
        return Signals(self._called(inputs))

    def _called(self, inputs):
        """Return the function's outputs, checked to be tensors with a row for each example."""
        try:
            outputs = self.function(inputs)
        except Exception as error:
            raise TypeError(
                f"Teacher {self.name!r} does not run inside a compiled step, where batches are "
                "symbolic tensors. Call a model as `model(x, training=False)`, not by `predict`; "
                "write the rest in TensorFlow or Keras operations, or call NumPy code through "
                f"`tf.numpy_function`. Received: {type(error).__name__}: {error}"
            ) from error
        flat = keras.tree.flatten(outputs)
        if not flat or not all(tf.is_tensor(value) and value.shape.rank != 0 for value in flat):
            raise TypeError(
                f"Teacher {self.name!r} must return the outputs for a batch: a tensor with a row "
                "for each example, or a list or dict of such. Does it lack a `return`? "
                f"Received: {outputs!r}"
            )
        return outputs

    @property
    def _wants_rows(self):
        return f"Teacher {self.name!r} must return a row for each example of the batch."

    def fingerprint(self):
        """Refuse: a function's content cannot be known."""
        raise ValueError(
            f"Teacher {self.name!r} is a callable, so a change of what it teaches cannot be seen. "
            "Name its version yourself: `cache_teacher(..., teacher_version='2024-05')`. "
            "Received: teacher_version=None"
        )


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
    advice = (
        "Make a copy yourself, call it once on a batch, give it the weights, and pass it as the "
        "teacher. Received: teacher='self'"
    )
    try:
        copy = keras.models.clone_model(model)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(f"Model {model.name!r} cannot be copied: {error}. {advice}") from error
    if len(copy.weights) != len(model.weights):
        raise ValueError(
            f"Model {model.name!r} cannot be copied: its clone has {len(copy.weights)} weights, not"
            f" {len(model.weights)}. {advice}"
        )
    copy.set_weights(model.get_weights())
    return copy


def as_teacher(teacher) -> Teacher:
    """Adapt whatever the user calls a teacher.

    Args:
        teacher: a Keras model; a tf_keras model; the path of a SavedModel folder, a .tflite or a
            .keras file; a callable from a batch to outputs, in TensorFlow or Keras operations; a
            list of these, or of (teacher, weight) pairs; or a ``Teacher``.

    Returns:
        A ``Teacher``.

    Raises:
        TypeError: ``teacher`` is none of these.
        ValueError: it cannot teach; see the kinds.
    """
    path = as_path(teacher)
    if path is not None:
        teacher = file_teacher(path)
    if isinstance(teacher, Teacher):
        return teacher
    if isinstance(teacher, keras.Model):
        return KerasTeacher(teacher)
    if is_tf_keras_model(teacher):
        return TFKerasTeacher(teacher)
    if isinstance(teacher, (list, tuple)):
        pairs = [item if isinstance(item, tuple) else (item, 1.0) for item in teacher]
        return Ensemble([as_teacher(one) for one, _ in pairs], [weight for _, weight in pairs])
    if callable(teacher):
        return CallableTeacher(teacher)
    raise TypeError(
        "`teacher` must be a Keras or tf_keras model, the path of a SavedModel, .tflite or .keras "
        "file, a callable from a batch to outputs, a list of these, or 'self'. Received: "
        f"teacher={teacher!r} of type {type(teacher).__name__}"
    )


def _hash_model(config, weights):
    text = json.dumps(config, sort_keys=True, default=repr)
    return hash_arrays(text, *(np.asarray(weight) for weight in weights))


def _check_built(model):
    if not model.built:
        raise ValueError(
            f"Teacher {model.name!r} is not built, so it has nothing to teach. Train it or load"
            " its weights first. Received: teacher.built=False"
        )


def _check_finite(model):
    for variable in model.weights:
        if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(variable.dtype)):
            continue
        if not keras.ops.all(keras.ops.isfinite(variable)):
            raise ValueError(
                f"Teacher {model.name!r} has NaN or infinite values in its weight "
                f"{getattr(variable, 'path', variable.name)!r}, so it would teach NaN. Train it "
                "again, or restore its weights."
            )
