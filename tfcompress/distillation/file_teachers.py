"""Teachers that are files: a SavedModel folder, a .tflite file."""

import pathlib
import threading

import keras
import numpy as np
import tensorflow as tf

from tfcompress.distillation.teacher import Signals, Teacher
from tfcompress.hashing import hash_files
from tfcompress.tflite.flatbuffer import read_model


class SavedModelTeacher(Teacher):
    """The serving signature of a SavedModel.

    Args:
        path: the folder.

    Raises:
        ValueError: the model has no signature "serving_default", or one with several inputs.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.name = path.name
        # Held, since the signature refers to the variables weakly.
        self._loaded = tf.saved_model.load(str(path))
        if "serving_default" not in self._loaded.signatures:
            raise ValueError(
                f"SavedModel {self.name!r} has no signature 'serving_default'. Export one with "
                "`keras_model.export(path)`, or give a callable as the teacher. "
                f"Received: signatures={list(self._loaded.signatures)}"
            )
        self._function = self._loaded.signatures["serving_default"]
        inputs = self._function.structured_input_signature[1]
        if len(inputs) != 1:
            raise ValueError(
                f"SavedModel {self.name!r} takes several inputs. Give a callable that passes them "
                f"as the teacher. Received: inputs={sorted(inputs)}"
            )
        ((self._input, self._spec),) = inputs.items()

    def signals(self, inputs, layers):
        """Run the signature; a single output comes as a tensor, several as a dictionary."""
        (tensor,) = keras.tree.flatten(inputs)
        outputs = self._function(**{self._input: tf.cast(tensor, self._spec.dtype)})
        return Signals(next(iter(outputs.values())) if len(outputs) == 1 else outputs)

    def fingerprint(self):
        """Hash the graph and the variables."""
        files = [self.path / "saved_model.pb", *(self.path / "variables").glob("*")]
        return hash_files(files, self.path)


class TFLiteTeacher(Teacher):
    """A .tflite file, run in this process: it must come from a source that you trust.

    Quantized inputs and outputs are converted from and to float. XLA cannot compile it.

    Args:
        path: the file.

    Raises:
        ValueError: the file is damaged, or takes several inputs.
    """

    supports_jit = False

    def __init__(self, path: pathlib.Path):
        # Not a module-level import: only this kind of teacher needs the runtime.
        from ai_edge_litert.interpreter import Interpreter

        read_model(path)
        self.path = path
        self.name = path.name
        self._interpreter = Interpreter(model_path=str(path))
        if len(self._interpreter.get_input_details()) != 1:
            raise ValueError(
                f"{self.name} takes several inputs. Give a callable that runs it as the teacher. "
                f"Received: {len(self._interpreter.get_input_details())} inputs"
            )
        (self._input,) = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self._interpreter.allocate_tensors()
        self._lock = threading.Lock()

    def signals(self, inputs, layers):
        """Run the file from inside the training step."""
        (tensor,) = keras.tree.flatten(inputs)
        outputs = tf.numpy_function(self._run, [tensor], [tf.float32] * len(self._outputs))
        for output, details in zip(outputs, self._outputs, strict=True):
            output.set_shape([None, *details["shape"][1:]])
        return Signals(outputs[0] if len(outputs) == 1 else outputs)

    def fingerprint(self):
        """Hash the file."""
        return hash_files([self.path], self.path.parent)

    def _run(self, batch):
        values = _quantized(np.asarray(batch), self._input)
        # A file made for one example at a time cannot be trusted to resize.
        resizes = self._input["shape_signature"][0] == -1
        parts = [values] if resizes else [values[i : i + 1] for i in range(len(values))]
        with self._lock:
            results = [self._invoke(part) for part in parts]
        return [np.concatenate(part) for part in zip(*results, strict=True)]

    def _invoke(self, values):
        interpreter, index = self._interpreter, self._input["index"]
        if tuple(interpreter.get_input_details()[0]["shape"]) != values.shape:
            interpreter.resize_tensor_input(index, values.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(index, values)
        interpreter.invoke()
        return [_dequantized(interpreter.get_tensor(out["index"]), out) for out in self._outputs]


def file_teacher(path: pathlib.Path) -> Teacher | keras.Model:
    """Load a teacher from disk.

    Args:
        path: a SavedModel folder, a .tflite file or a .keras file.

    Raises:
        ValueError: the path is none of these, or the file cannot serve as a teacher.
    """
    if path.suffix == ".tflite" and path.is_file():
        return TFLiteTeacher(path)
    if path.suffix == ".keras" and path.exists():
        return keras.saving.load_model(path, compile=False)
    if (path / "saved_model.pb").is_file():
        return SavedModelTeacher(path)
    raise ValueError(
        "`teacher`, as a path, must be a SavedModel folder, a .tflite file or a .keras file that "
        f"exists. Received: teacher={str(path)!r}"
    )


def _quantized(values, details):
    scale, zero_point = details["quantization"]
    if not scale:
        return values.astype(details["dtype"])
    limits = np.iinfo(details["dtype"])
    rounded = np.round(values / scale) + zero_point
    return np.clip(rounded, limits.min, limits.max).astype(details["dtype"])


def _dequantized(values, details):
    scale, zero_point = details["quantization"]
    if scale:
        values = (values.astype(np.float32) - zero_point) * scale
    return values.astype(np.float32)


def as_path(teacher) -> pathlib.Path | None:
    """Return a path if the user gave one."""
    return pathlib.Path(teacher) if isinstance(teacher, (str, pathlib.Path)) else None
