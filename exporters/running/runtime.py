"""Finding the installed runtimes, and loading .tflite files: in this process, or in a child."""

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from exporters.running.child import KERNELS, MICRO_MODULE, open_session
from exporters.running.child_process import Child, Limits, RunError
from exporters.running.loaded_model import LoadedModel, RemoteSession
from exporters.running.tensor_details import input_output_details
from tfcompress.extras import missing_extra
from tfcompress.tflite.flatbuffer import read_content, read_model
from tfcompress.tflite.model import TFLiteModel

# In order of preference: LiteRT, its predecessor, and TensorFlow's own copy.
_MODULES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow",
}
# The kernel set of TensorFlow Lite for Microcontrollers, which only its interpreter has.
MICRO = "micro"
_MICRO_RUNTIME = "tflite-micro"
_PROBE = """
import importlib.metadata as m, json, sys
found = {}
for name in sys.argv[1:]:
    try: found[name] = m.version(name)
    except m.PackageNotFoundError: pass
print(json.dumps(found))
"""


@dataclasses.dataclass(frozen=True)
class Runtime:
    """A runtime that can load .tflite files.

    Attributes:
        name: its distribution: "ai-edge-litert", "tflite-runtime", "tensorflow" or "tflite-micro".
        version: its version.
        python: the Python that has it; a runtime of another Python runs in a child process only.
    """

    name: str
    version: str
    python: str = sys.executable

    @property
    def module(self) -> str:
        """The module that holds its interpreter."""
        return MICRO_MODULE if self.name == _MICRO_RUNTIME else _MODULES[self.name]

    @property
    def here(self) -> bool:
        """Whether this process can import it."""
        return self.python == sys.executable

    def __str__(self):
        return f"{self.name} {self.version}"


def find_runtimes(python: str | os.PathLike | None = None) -> tuple[Runtime, ...]:
    """Look up the installed runtimes, without importing them.

    Args:
        python: another Python to ask, such as one of a virtual environment that has
            tflite-runtime; by default this one.

    Returns:
        The runtimes, the preferred one first: ai-edge-litert, tflite-runtime, tensorflow.

    Raises:
        OSError, subprocess.SubprocessError: the other Python cannot be started.

    Example:
    ```python
    print(*find_runtimes(), sep=", ")  # ai-edge-litert 2.3.0, tensorflow 2.21.0
    ```
    """
    if python is not None and os.fspath(python) != sys.executable:
        command = [os.fspath(python), "-c", _PROBE, *_MODULES]
        answer = subprocess.run(command, capture_output=True, check=True, timeout=60)
        return tuple(
            Runtime(name, version, os.fspath(python))
            for name, version in json.loads(answer.stdout).items()
        )
    found = []
    for name in _MODULES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(Runtime(name, importlib.metadata.version(name)))
    return tuple(found)


def has_micro() -> bool:
    """Return whether the interpreter for the kernel set "micro" is installed."""
    return importlib.util.find_spec("tflite_micro") is not None


def find_runtime(runtime: Runtime | str | None = None, kernels: str = "xnnpack") -> Runtime:
    """Return a runtime by its name, the preferred one when not given; that of "micro" for it."""
    if kernels == MICRO:
        if not has_micro():
            raise RuntimeError(missing_extra(f"The kernel set {MICRO!r}", "micro"))
        return Runtime(_MICRO_RUNTIME, importlib.metadata.version(_MICRO_RUNTIME))
    if isinstance(runtime, Runtime):
        return runtime
    if runtime is not None and runtime not in _MODULES:
        raise ValueError(f"Unknown runtime. Supported: {list(_MODULES)}. Received: {runtime!r}")
    present = find_runtimes()
    for candidate in present:
        if runtime in (None, candidate.name):
            return candidate
    wanted = "No runtime for .tflite files" if runtime is None else f"The runtime {runtime}"
    raise RuntimeError(
        f"{wanted} is installed. Install one with `pip install ai-edge-litert`. "
        f"Present: {[str(candidate) for candidate in present]}"
    )


def load(
    source: bytes | str | os.PathLike,
    runtime: Runtime | str | None = None,
    kernels: str = "xnnpack",
    threads: int = 1,
    *,
    signature: str | None = None,
    keep_all: bool = False,
) -> LoadedModel:
    """Load a file in this process: for bytes that this process made.

    A file from elsewhere can abort the process; use ``load_isolated`` for it.

    Args:
        source: the file's bytes, or its path.
        runtime: see ``find_runtime``.
        kernels: "xnnpack" (the default delegate), "builtin" (optimized kernels without it),
            "reference" (the plain kernels), or "micro" (TensorFlow Lite for Microcontrollers: its
            own runtime, tflite-micro).
        threads: threads of the kernels.
        signature: the signature to run; by default the main graph.
        keep_all: keep inner values for ``LoadedModel.trace``.

    Returns:
        The loaded file.

    Raises:
        FlatbufferError: the file is damaged.
        RunError: the runtime rejects it.
        RuntimeError: the runtime is missing.
        ValueError: an argument is not one of the above, or the runtime belongs to another Python.

    Example:
    ```python
    with load("model.tflite", kernels="reference") as model:
        scores = model.predict(images)[0]
    ```
    """
    runtime = find_runtime(runtime, kernels)
    if not runtime.here:
        raise ValueError(
            f"{runtime} is installed for another Python, {runtime.python}: use load_isolated"
        )
    content, model, settings = _prepare(source, runtime, kernels, threads, signature, keep_all)
    try:
        session = open_session(content, settings)
    except (RuntimeError, ValueError, ImportError) as error:
        raise RunError(f"{runtime} could not load the file: {error}") from error
    return LoadedModel(runtime, kernels, model, signature, session)


def load_isolated(
    source: bytes | str | os.PathLike,
    runtime: Runtime | str | None = None,
    kernels: str = "xnnpack",
    threads: int = 1,
    *,
    signature: str | None = None,
    keep_all: bool = False,
    limits: Limits | None = None,
    child: Child | None = None,
) -> LoadedModel:
    """Load a file in a child process: for files from anywhere.

    A crash, an abort, a hang or a lack of memory in the child raises ``RunError`` here.

    Args:
        source: the file's bytes, or its path.
        runtime: see ``find_runtime``.
        kernels: see ``load``.
        threads: see ``load``.
        signature: see ``load``.
        keep_all: see ``load``.
        limits: what the child process may use.
        child: a process of that runtime to use, which stays open; by default a new one.

    Returns:
        The loaded file. Closing it ends a child process that was started for it.

    Raises:
        FlatbufferError: the file is damaged; no process is started.
        RunError: the runtime rejects it, or the child process ended.
        RuntimeError: the runtime is missing.
        ValueError: an argument is not one of the above.

    Example:
    ```python
    with load_isolated("downloaded.tflite", limits=Limits(seconds=10)) as model:
        scores = model.predict(images)[0]
    ```
    """
    runtime = find_runtime(runtime, kernels)
    content, model, settings = _prepare(source, runtime, kernels, threads, signature, keep_all)
    backend = RemoteSession(child or start_child(runtime, limits), owned=child is None)
    try:
        backend.load(content, settings)
    except RunError:
        backend.close()
        raise
    return LoadedModel(runtime, kernels, model, signature, backend)


def start_child(runtime: Runtime | str | None = None, limits: Limits | None = None) -> Child:
    """Start a child process that can load one file after the other."""
    runtime = find_runtime(runtime)
    return Child(runtime.python, runtime.module, limits or Limits())


class Children:
    """One child process for each runtime, started when needed and again when one has died.

    Use it as a context manager: the processes end with it.
    """

    def __init__(self, limits: Limits | None = None):
        self._limits = limits
        self._children: dict[Runtime, Child] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in self._children.values():
            child.close()

    def of(self, runtime: Runtime) -> Child:
        """Return the living child process of a runtime."""
        child = self._children.get(runtime)
        if child is None or not child.alive:
            child = self._children[runtime] = start_child(runtime, self._limits)
        return child


def run(
    source: bytes | str | os.PathLike, inputs: Sequence[np.ndarray], **settings: Any
) -> list[np.ndarray]:
    """Load a trusted file in this process and run it once.

    Args:
        source: the file's bytes, or its path.
        inputs: an array for each input, of its shape and dtype.
        **settings: as ``load`` takes them.

    Returns:
        An array for each output.

    Raises:
        FlatbufferError, RunError, RuntimeError, ValueError: as ``load`` and ``LoadedModel.run``.

    Example:
    ```python
    scores = run("model_float.tflite", [images[:1]])[0]
    ```
    """
    with load(source, **settings) as loaded:
        return loaded.run(inputs)


def run_isolated(
    source: bytes | str | os.PathLike, inputs: Sequence[np.ndarray], **settings: Any
) -> list[np.ndarray]:
    """Load a file from anywhere in a child process and run it once.

    Args:
        source: the file's bytes, or its path.
        inputs: an array for each input, of its shape and dtype.
        **settings: as ``load_isolated`` takes them.

    Returns:
        An array for each output.

    Raises:
        FlatbufferError, RunError, RuntimeError, ValueError: as ``load_isolated`` and
            ``LoadedModel.run``.

    Example:
    ```python
    scores = run_isolated("downloaded.tflite", [np.zeros((1, 8, 8, 3), np.int8)])[0]
    ```
    """
    with load_isolated(source, **settings) as loaded:
        return loaded.run(inputs)


def _prepare(
    source, runtime, kernels, threads, signature, keep_all
) -> tuple[bytes, TFLiteModel, dict]:
    """Read a file; return its bytes, its content, and the settings of a ``Session``."""
    if kernels not in (*KERNELS, MICRO):
        raise ValueError(
            f"Unknown kernel set. Supported: {[*KERNELS, MICRO]}. Received: {kernels!r}"
        )
    if kernels == MICRO and (signature is not None or keep_all):
        raise ValueError(
            "TFLite Micro runs the main graph and gives its outputs alone. "
            f"Received: signature={signature!r}, keep_all={keep_all!r}"
        )
    if not isinstance(threads, int) or threads < 1:
        raise ValueError(f"`threads` must be at least 1. Received: threads={threads!r}")
    content, path = read_content(source)
    model = read_model(content, path)
    inputs, outputs = input_output_details(model, signature)
    by = "name" if signature is not None else "index"
    settings = {
        "module": runtime.module,
        "kernels": kernels,
        "threads": threads,
        "inputs": [getattr(details, by) for details in inputs],
        "outputs": [getattr(details, by) for details in outputs],
        "signature": signature,
        "keep_all": keep_all,
    }
    return content, model, settings
