"""Calls that need Keras on TensorFlow, made from a process where it runs on another backend.

Such a call is made in a child process. Models travel as .keras files, tensors as arrays, datasets
as their batches, everything else pickled, in a folder that the parent has made. What the call
returns or raises comes back the same way.
"""

import builtins
import functools
import importlib
import importlib.util
import inspect
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

_CALL, _ANSWER = "call.pickle", "answer.pickle"
_REPORTS = ("repair_report", "pruning_report")  # attributes of models that their files do not hold
_PROGRAM = (
    "import pathlib, sys; from tfcompress.on_tensorflow import answer; "
    "answer(pathlib.Path(sys.argv[1]))"
)


def with_calls_on_tensorflow(
    getattribute: Callable[[str], Any], modules: Mapping[str, str]
) -> Callable[[str], Any]:
    """Extend a package's ``__getattr__``: on other backends some functions run on TensorFlow.

    Args:
        getattribute: the ``__getattr__``.
        modules: the module of each such function, by its name.
    """

    def extended(name: str) -> Any:
        if name not in modules or runs_here():
            return getattribute(name)
        return functools.partial(call_on_tensorflow, modules[name], name)

    return extended


def runs_here() -> bool:
    """Tell whether Keras runs on TensorFlow in this process."""
    from tfcompress.backends import runs_on  # not at the top: names are listed without Keras

    return runs_on("tensorflow")


def refused(getattribute: Callable[[str], Any], instead: Mapping[str, str]) -> Callable[[str], Any]:
    """Extend a package's ``__getattr__``: on other backends a call of some names is an error.

    Args:
        getattribute: the ``__getattr__``.
        instead: what to do instead, by name.
    """

    def refuse(name: str, /, *_args: Any, **_kwargs: Any) -> Any:
        import keras

        raise RuntimeError(
            f"{name} needs Keras on TensorFlow: {instead[name]}. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )

    def extended(name: str) -> Any:
        if name not in instead or runs_here():
            return getattribute(name)
        return functools.partial(refuse, name)

    return extended


def call_on_tensorflow(
    module: str, name: str, /, *args: Any, shown_as: str | None = None, **kwargs: Any
) -> Any:
    """Call a function of a module where Keras runs on TensorFlow, in a child process if need be.

    Errors name what the user called, if that is not the function, as it is ``shown_as``.
    """
    if runs_here():
        return getattr(importlib.import_module(module), name)(*args, **kwargs)
    shown = shown_as or name
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportError(
            f"{shown} needs TensorFlow, which runs in a process of its own beside this one: "
            "pip install tensorflow"
        )
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        layers = _Pickler(folder).write(_CALL, (module, name, args, kwargs))
        environment = {
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **os.environ,
            "KERAS_BACKEND": "tensorflow",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        # -P: a folder of the working directory, such as one named jax, is no package.
        command = [sys.executable, "-P", "-c", _PROGRAM, scratch]
        ended = subprocess.run(command, env=environment, check=False)
        if not (folder / _ANSWER).exists():
            raise RuntimeError(
                f"The process that runs {shown} on TensorFlow ended with code {ended.returncode}. "
                "Its messages are above; it may have run out of memory."
            )
        failed, found = _Unpickler(folder).read(_ANSWER)
    if failed:
        kind, message, notes = found
        error = getattr(builtins, kind)(message)
        for note in notes:
            error.add_note(note)
        if layers:
            error.add_note(
                "The model ran on TensorFlow. Layers of your own compute there if they use "
                f"keras.ops alone. Received: {', '.join(layers)}"
            )
        raise error
    return found


class _Pickler(pickle.Pickler):
    """Pickles a value into a folder, with the models in it beside it."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._models: dict[int, tuple[Any, str]] = {}  # by id; the model, and its file
        self._own_layers: dict[str, str] = {}  # the module of each, by how errors name it

    def write(self, name: str, value: Any) -> list[str]:
        """Write a file, whole or not at all; return the names of layers of the user's classes."""
        draft = self._folder / f"{name}.draft"
        with draft.open("wb") as file:
            super().__init__(file)
            self.dump(value)
        modules = sorted(set(self._own_layers.values()))
        (self._folder / f"{name}.modules").write_text("\n".join(modules), encoding="utf-8")
        draft.replace(self._folder / name)
        return sorted(self._own_layers)

    def persistent_id(self, value: Any) -> tuple | None:
        """Return what stands for a model, a tensor or a dataset."""
        import keras
        import numpy as np

        from tfcompress.data import require_end

        if isinstance(value, keras.Model):
            reports = {name: getattr(value, name) for name in _REPORTS if hasattr(value, name)}
            return "model", (self._saved(value), reports)
        if keras.ops.is_tensor(value):
            return "array", keras.ops.convert_to_numpy(value)
        if hasattr(value, "element_spec") or isinstance(value, keras.utils.PyDataset):
            require_end(value)
            return "dataset", [keras.tree.map_structure(np.asarray, batch) for batch in value]
        if inspect.isgenerator(value):
            return "batches", list(value)
        if (inspect.isfunction(value) or inspect.isclass(value)) and _is_script(value.__module__):
            raise ValueError(
                f"{value.__qualname__} must be defined in a module that another process can import,"
                " not in the script itself. "
                f"Received: {value.__module__}.{value.__qualname__}"
            )
        return None

    def _saved(self, model: Any) -> str:
        """Save a model once, and return the name of its file."""
        from tfcompress.compat.keras_layers import all_layers

        if id(model) not in self._models:
            for layer in all_layers(model):
                kind = type(layer)
                if kind.__module__.split(".")[0] in ("keras", "tfcompress"):
                    continue
                described = f"{layer.name!r} of class {kind.__qualname__}"
                if _is_script(kind.__module__):
                    raise ValueError(
                        f"Layer {described} is defined in the script itself, so the process with "
                        "TensorFlow cannot load it. Move the class into a module of its own, and "
                        f"import it. Received: {kind.__module__}.{kind.__qualname__}"
                    )
                self._own_layers[described] = kind.__module__
            name = f"{len(self._models)}.keras"
            model.save(self._folder / name)
            self._models[id(model)] = model, name
        return self._models[id(model)][1]


def _is_script(module: str) -> bool:
    return module == "__main__"


class _Unpickler:
    """Reads what a pickler wrote into a folder."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._models: dict[str, Any] = {}

    def read(self, name: str) -> Any:
        """Read a file."""
        for module in (self._folder / f"{name}.modules").read_text(encoding="utf-8").split():
            importlib.import_module(module)  # where the user's classes are registered
        with (self._folder / name).open("rb") as file:
            unpickler = pickle.Unpickler(file)
            unpickler.persistent_load = self._load  # type: ignore[method-assign]
            return unpickler.load()

    def _load(self, stands_for: tuple) -> Any:
        kind, value = stands_for
        if kind == "dataset":
            return _dataset(value)
        if kind != "model":
            return value
        name, reports = value
        if name not in self._models:
            import keras

            path = self._folder / name
            try:
                model = keras.saving.load_model(path, safe_mode=False)
            except (TypeError, ValueError):  # a loss or a metric of the user's own
                model = keras.saving.load_model(path, compile=False, safe_mode=False)
            for attribute, report in reports.items():
                setattr(model, attribute, report)
            self._models[name] = model
        return self._models[name]


def _dataset(batches: list) -> Any:
    """Return batches of arrays as a dataset of TensorFlow, which training reads as one."""
    import keras
    import tensorflow as tf

    def spec(*arrays):
        shapes = {array.shape for array in arrays}
        shape = shapes.pop() if len(shapes) == 1 else (None, *arrays[0].shape[1:])
        return tf.TensorSpec(shape, tf.convert_to_tensor(arrays[0]).dtype)

    signature = keras.tree.map_structure(spec, *batches)
    dataset = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(batches)))


def answer(folder: pathlib.Path) -> None:
    """Make the call that a parent wrote to a folder, and write what comes of it."""
    try:
        module, name, args, kwargs = _Unpickler(folder).read(_CALL)
        function = getattr(importlib.import_module(module), name)
        _Pickler(folder).write(_ANSWER, (False, function(*args, **kwargs)))
    except Exception as error:
        # By the nearest built-in class: its own may be defined where TensorFlow is imported.
        kind = next(c for c in type(error).__mro__ if c.__module__ == "builtins").__name__
        described = kind, str(error), getattr(error, "__notes__", [])
        _Pickler(folder).write(_ANSWER, (True, described))
