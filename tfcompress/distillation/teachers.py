"""Teachers: sources of signals that are never trained and never saved."""

import abc
import contextlib
import json
import pathlib
import threading
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfcompress.backends import require_tensorflow, same_rows
from tfcompress.compat.keras_graphs import output_spec
from tfcompress.compat.keras_layers import all_layers
from tfcompress.compat.tf_keras_models import is_tf_keras_model
from tfcompress.distillation.schedules import checked_schedule
from tfcompress.distillation.signals import (
    Signals,
    captured_outputs,
    detect_heads,
    find_layer,
    given_names,
    match_outputs,
    symbolic,
)
from tfcompress.hashing import hash_arrays, hash_files
from tfcompress.keras_graph.acceleration import accelerated_inference
from tfcompress.keras_graph.wrapper import ModelWrapper, unwrap
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.numerics import dequantize, quantize

_ROWS = 3  # of a dry run


class Teacher(abc.ABC):
    """Gives signals for a batch, whatever kind of model is behind it.

    Attributes:
        name: its name in error messages.
        heads: the final activations of its outputs, if known; see ``detect_heads``.
        supports_jit: whether XLA can compile it.
    """

    name: str
    heads: Sequence[str | None] = ()
    supports_jit: bool = True

    @abc.abstractmethod
    def signals(self, inputs: Any, layers: Sequence[str]) -> Signals:
        """Run on a batch in inference mode; return outputs and the chosen layers' outputs."""

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Return a text that changes whenever the signals may change."""

    def symbolic_signals(self, inputs: Any, layers: Sequence[str]) -> Signals:
        """Return anything with the shapes and dtypes of ``signals``."""
        return self.signals(inputs, layers)

    def check_layers(self, layers: Sequence[str]) -> None:
        """Raise ValueError unless the outputs of all these layers can be read."""
        if layers:
            raise ValueError(
                f"Teacher {self.name!r} is not a Keras 3 model, so its layers cannot be read. Use "
                "a loss on the outputs, or pass the teacher as a Keras model. "
                f"Received: teacher_layer={layers[0]!r}"
            )


class TFKerasTeacher(Teacher):
    """A tf_keras (Keras 2) model, run in inference mode."""

    def __init__(self, model):
        if not model.built:
            raise ValueError(
                f"Teacher {model.name!r} is not built, so it has no weights. Train it or load its "
                "weights first. Received: teacher.built=False"
            )
        _check_finite(model)
        self.model = model
        self.name = model.name

    def signals(self, inputs, layers):
        """Run the model with ``training=False``."""
        return Signals(self.model(inputs, training=False))

    def fingerprint(self):
        """Hash the architecture and the weights."""
        text = json.dumps(self.model.get_config(), sort_keys=True, default=repr)
        return hash_arrays(text, *map(np.asarray, self.model.get_weights()))


class KerasTeacher(TFKerasTeacher):
    """A Keras model; its flags, weights and statistics are not changed."""

    def __init__(self, model: keras.Model):
        super().__init__(model)
        self.heads = detect_heads(model)
        self.supports_jit = all(layer.supports_jit for layer in all_layers(model))
        # A quantization-aware model shows its layers to whoever replaces their calls.
        self._wraps = any(isinstance(layer, ModelWrapper) for layer in all_layers(model))

    def check_layers(self, layers):
        """Raise ValueError for a layer that the model does not have."""
        for name in layers:
            find_layer(self.model, name)

    def signals(self, inputs, layers):
        """Run the model with ``training=False``."""
        faster = contextlib.nullcontext() if self._wraps else accelerated_inference(self.model)
        with faster, captured_outputs(self.model, layers) as captured:
            outputs = self.model(inputs, training=False)
        return Signals(outputs, captured, given_names(outputs, self.model))


class CallableTeacher(Teacher):
    """A function from a batch to outputs, called inside the compiled step."""

    def __init__(self, function):
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)

    def signals(self, inputs, layers):
        """Call the function; check the number of rows at run time."""
        batch = keras.tree.flatten(inputs)[0]
        message = f"{self._expected_rows} Received: another number of rows"
        outputs = self._called(inputs)
        return Signals(
            keras.tree.map_structure(lambda rows: same_rows(rows, batch, message), outputs)
        )

    def symbolic_signals(self, inputs, layers):
        """Call the function, also on a batch of known size to check its number of rows."""
        some = keras.tree.map_structure(lambda tensor: symbolic(tensor, _ROWS), inputs)
        for tensor in keras.tree.flatten(output_spec(self._called, some)):
            if tensor.shape[0] not in (None, _ROWS):
                raise ValueError(
                    f"{self._expected_rows} Received: shape {tuple(tensor.shape)} for a batch of "
                    f"{_ROWS}"
                )
        return Signals(self._called(inputs))

    def _called(self, inputs):
        """Return the function's outputs, checked to be tensors with rows."""
        try:
            outputs = self.function(inputs)
        except Exception as error:
            raise TypeError(
                f"Teacher {self.name!r} does not run inside a compiled step, where batches are "
                "symbolic tensors. Call a model as `model(x, training=False)`, not by `predict`; "
                "write the rest in Keras operations, or under TensorFlow call NumPy code through "
                f"`tf.numpy_function`. Received: {type(error).__name__}: {error}"
            ) from error
        flat = keras.tree.flatten(outputs)
        if not flat or not all(keras.ops.is_tensor(value) and len(value.shape) for value in flat):
            raise TypeError(
                f"Teacher {self.name!r} must return the outputs for a batch: a tensor with a row "
                "for each example, or a list or dict of such tensors. Does it lack a `return`? "
                f"Received: {outputs!r}"
            )
        return outputs

    @property
    def _expected_rows(self):
        """The start of an error message."""
        return f"Teacher {self.name!r} must return a row for each example of the batch."

    def fingerprint(self):
        """Raise ValueError: the content of a function is unknown."""
        raise ValueError(
            f"Teacher {self.name!r} is a callable, whose changes cannot be detected. Pass a name "
            "for its version: `cache_teacher(..., teacher_version='2024-05')`. "
            "Received: teacher_version=None"
        )


class Ensemble(Teacher):
    """The weighted mean of several teachers' outputs; weights are divided by their sum."""

    def __init__(self, teachers: Sequence[Teacher], weights: Sequence[float]):
        if not teachers:
            raise ValueError("`teacher` needs at least one teacher. Received: teacher=[]")
        for weight in weights:
            checked_schedule("teacher weight", weight, above=True)
        self.teachers = tuple(teachers)
        self.weights = tuple(weight / sum(weights) for weight in weights)
        self.name = " + ".join(teacher.name for teacher in teachers)
        heads = [list(teacher.heads) for teacher in teachers if teacher.heads]
        if any(head != heads[0] for head in heads):
            raise ValueError(
                "Several teachers must all end in logits or all in probabilities to be averaged. "
                f"Received: {[(t.name, list(t.heads)) for t in teachers]}"
            )
        self.heads = heads[0] if heads else ()
        self.supports_jit = all(teacher.supports_jit for teacher in teachers)

    def signals(self, inputs, layers):
        """Run every teacher and average their outputs, in the order of the first teacher's."""
        signals = [teacher.signals(inputs, ()) for teacher in self.teachers]
        outputs = [keras.tree.flatten(one.outputs) for one in signals]
        names = signals[0].names
        if all(len(flat) == len(outputs[0]) for flat in outputs):
            shapes = [[tuple(tensor.shape) for tensor in flat] for flat in outputs]
            outputs = [
                [flat[place] for place in match_outputs(names, one.names, (shapes[0], shape))]
                for one, flat, shape in zip(signals, outputs, shapes, strict=True)
            ]
        shapes = [[tuple(tensor.shape[1:]) for tensor in flat] for flat in outputs]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(
                f"Several teachers ({self.name}) must have outputs of equal shapes. "
                f"Received: shapes {shapes}"
            )
        mean = [
            sum(w * keras.ops.cast(x, "float32") for w, x in zip(self.weights, parts, strict=True))
            for parts in zip(*outputs, strict=True)
        ]
        return Signals(mean[0] if len(mean) == 1 else mean, names=names)

    def check_layers(self, layers):
        """Raise ValueError for any layer: features of different models have no mean."""
        if layers:
            raise ValueError(
                f"The features of several teachers ({self.name}) cannot be averaged. Use a loss on "
                f"the outputs, or one teacher. Received: teacher_layer={layers[0]!r}"
            )

    def fingerprint(self):
        """Hash the teachers' fingerprints and weights."""
        return hash_arrays(*(t.fingerprint() for t in self.teachers), repr(self.weights))


class SavedModelTeacher(Teacher):
    """The serving signature of a SavedModel folder."""

    def __init__(self, path: pathlib.Path):
        require_tensorflow(f"The teacher {path.name!r}")
        import tensorflow as tf  # not at the top: other teachers run without it

        self.path = path
        self.name = path.name
        # Kept, because the signature refers to the variables weakly.
        self._loaded = tf.saved_model.load(str(path))
        if "serving_default" not in self._loaded.signatures:
            raise ValueError(
                f"SavedModel {self.name!r} has no signature 'serving_default'. Export one with "
                "`keras_model.export(path)`, or pass a callable as the teacher. "
                f"Received: signatures={list(self._loaded.signatures)}"
            )
        self._function = self._loaded.signatures["serving_default"]
        inputs = self._function.structured_input_signature[1]
        if len(inputs) != 1:
            raise ValueError(
                f"SavedModel {self.name!r} takes several inputs. Pass a callable that calls it as "
                f"the teacher. Received: inputs={sorted(inputs)}"
            )
        ((self._input, self._spec),) = inputs.items()

    def signals(self, inputs, layers):
        """Run the signature; a single output is a tensor, several are a dictionary."""
        (tensor,) = keras.tree.flatten(inputs)
        outputs = self._function(**{self._input: keras.ops.cast(tensor, self._spec.dtype.name)})
        return Signals(next(iter(outputs.values())) if len(outputs) == 1 else outputs)

    def fingerprint(self):
        """Hash the graph and the variables."""
        files = [self.path / "saved_model.pb", *(self.path / "variables").glob("*")]
        return hash_files(files, self.path)


class TFLiteTeacher(Teacher):
    """A .tflite file, run in this process: it must come from a trusted source.

    Quantized inputs and outputs are converted from and to float. XLA cannot compile it.
    """

    supports_jit = False

    def __init__(self, path: pathlib.Path):
        require_tensorflow(f"The teacher {path.name!r}")
        # Not a module-level import: only this kind of teacher needs the runtime.
        from ai_edge_litert.interpreter import Interpreter

        read_model(path)
        self.path = path
        self.name = path.name
        self._interpreter = Interpreter(model_path=str(path))
        if len(self._interpreter.get_input_details()) != 1:
            raise ValueError(
                f"{self.name} takes several inputs. Pass a callable that runs it as the teacher. "
                f"Received: {len(self._interpreter.get_input_details())} inputs"
            )
        (self._input,) = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self._interpreter.allocate_tensors()
        self._lock = threading.Lock()

    def signals(self, inputs, layers):
        """Run the file from inside the training step."""
        import tensorflow as tf  # not at the top: other teachers run without it

        (tensor,) = keras.tree.flatten(inputs)
        outputs = tf.numpy_function(self._run, [tensor], [tf.float32] * len(self._outputs))
        for output, details in zip(outputs, self._outputs, strict=True):
            output.set_shape([None, *details["shape"][1:]])
        return Signals(outputs[0] if len(outputs) == 1 else outputs)

    def fingerprint(self):
        """Hash the file."""
        return hash_files([self.path], self.path.parent)

    def _run(self, batch):
        """Return the outputs of a batch as arrays."""
        values, (scale, zero_point) = np.asarray(batch), self._input["quantization"]
        dtype = self._input["dtype"]
        values = quantize(values, scale, zero_point, dtype) if scale else values.astype(dtype)
        # A file made for one example at a time cannot be trusted to resize.
        resizes = self._input["shape_signature"][0] == -1
        parts = [values] if resizes else [values[i : i + 1] for i in range(len(values))]
        with self._lock:
            results = [self._invoke(part) for part in parts]
        return [np.concatenate(part) for part in zip(*results, strict=True)]

    def _invoke(self, values):
        """Return the outputs of one call of the interpreter."""
        interpreter, index = self._interpreter, self._input["index"]
        if tuple(interpreter.get_input_details()[0]["shape"]) != values.shape:
            interpreter.resize_tensor_input(index, values.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(index, values)
        interpreter.invoke()
        outputs = []
        for details in self._outputs:
            values, (scale, zero_point) = (
                interpreter.get_tensor(details["index"]),
                details["quantization"],
            )
            real = dequantize(values, scale, zero_point) if scale else values.astype(np.float32)
            outputs.append(real)
        return outputs


def frozen_copy(student: keras.Model) -> keras.Model:
    """Return a copy of the user's own model in a student, wrappers removed, as its teacher."""
    model = unwrap(student)
    advice = (
        "Make a copy yourself, call it once on a batch, set its weights, and pass it as the "
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
    """Return a ``Teacher`` for any teacher that a ``Distiller`` accepts."""
    if isinstance(teacher, (str, pathlib.Path)):
        teacher = _from_file(pathlib.Path(teacher))
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


def _from_file(path: pathlib.Path) -> Teacher | keras.Model:
    """Load a teacher from a SavedModel folder, a .tflite file or a .keras file."""
    if path.suffix == ".tflite" and path.is_file():
        return TFLiteTeacher(path)
    if path.suffix == ".keras" and path.exists():
        return keras.saving.load_model(path, compile=False)
    if (path / "saved_model.pb").is_file():
        return SavedModelTeacher(path)
    raise ValueError(
        "`teacher`, as a path, must be an existing SavedModel folder, .tflite file or .keras file. "
        f"Received: teacher={str(path)!r}"
    )


def _check_finite(model):
    """Raise ValueError for a weight that is NaN or infinite."""
    for variable in model.weights:
        if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(variable.dtype)):
            continue
        if not keras.ops.all(keras.ops.isfinite(variable)):
            raise ValueError(
                f"Teacher {model.name!r} has NaN or infinite values in its weight "
                f"{getattr(variable, 'path', variable.name)!r}, so its outputs would be NaN. Train "
                "it again, or restore its weights."
            )
