"""Loading .tflite files with the runtimes that are present: in this process, or in a child."""

import os
from collections.abc import Sequence

import numpy as np

from exporters.child.session import KERNELS, Session
from exporters.discovery import Runtime, find_runtime, find_runtimes
from exporters.isolation import Child, Limits, RunError
from exporters.loaded_model import LoadedModel, RemoteSession
from exporters.ports import Port, ports
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import TFLiteModel

__all__ = [
    "KERNELS",
    "Limits",
    "LoadedModel",
    "Port",
    "RunError",
    "Runtime",
    "find_runtime",
    "find_runtimes",
    "load",
    "load_isolated",
    "ports",
    "run",
    "run_isolated",
    "start_child",
]


def load(
    source: bytes | str | os.PathLike,
    runtime: Runtime | str | None = None,
    kernels: str = "xnnpack",
    threads: int = 1,
    *,
    signature: str | None = None,
    keep_all: bool = False,
) -> LoadedModel:
    """Load a file in this process: for bytes that this process has made.

    A file from elsewhere can abort the process; use ``load_isolated`` for it.

    Args:
        source: the file's bytes, or its path.
        runtime: see ``find_runtime``.
        kernels: "xnnpack" (the default delegate), "builtin" (optimized kernels without it) or
            "reference" (the plain kernels).
        threads: threads of the kernels.
        signature: the signature to run; by default the main graph.
        keep_all: keep inner values for ``LoadedModel.trace``.

    Returns:
        The loaded file.

    Raises:
        FlatbufferError: the file is damaged.
        RunError: the runtime refuses it.
        RuntimeError: the runtime is missing.
        ValueError: an argument is not one of the above, or the runtime belongs to another Python.
    """
    runtime = find_runtime(runtime)
    if not runtime.here:
        raise ValueError(f"{runtime} belongs to {runtime.python}: use load_isolated")
    content, model = _read(source)
    settings = _settings(
        runtime, model, kernels=kernels, threads=threads, signature=signature, keep_all=keep_all
    )
    try:
        session = Session(content=content, **settings)
    except (RuntimeError, ValueError, ImportError) as error:
        raise RunError(f"{runtime} refused to load the file: {error}") from error
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

    A crash, an abort, a hang or a lack of memory there is a ``RunError`` here.

    Args:
        source: the file's bytes, or its path.
        runtime: see ``find_runtime``.
        kernels: see ``load``.
        threads: see ``load``.
        signature: see ``load``.
        keep_all: see ``load``.
        limits: what the child process may use.
        child: a process of that runtime to use again; by default a new one.

    Returns:
        The loaded file. Closing it ends the child process.

    Raises:
        FlatbufferError: the file is damaged; no process is started.
        RunError: the runtime refuses it, or the child process came to an end.
        RuntimeError: the runtime is missing.
        ValueError: an argument is not one of the above.

    Example:
    ```python
    with load_isolated("downloaded.tflite", limits=Limits(seconds=10)) as model:
        scores = model.predict(images)[0]
    ```
    """
    runtime = find_runtime(runtime)
    content, model = _read(source)
    settings = _settings(
        runtime, model, kernels=kernels, threads=threads, signature=signature, keep_all=keep_all
    )
    backend = RemoteSession(child or start_child(runtime, limits))
    try:
        backend.load(content, settings)
    except RunError:
        if child is None:
            backend.close()
        raise
    return LoadedModel(runtime, kernels, model, signature, backend)


def start_child(runtime: Runtime | str | None = None, limits: Limits | None = None) -> Child:
    """Start a child process that can load one file after the other.

    Args:
        runtime: see ``find_runtime``.
        limits: what it may use.

    Returns:
        The process; the caller closes it.

    Raises:
        RunError: the runtime cannot be imported there.
        RuntimeError: the runtime is missing.
    """
    runtime = find_runtime(runtime)
    return Child(runtime.python, runtime.module, limits or Limits())


def run(source, inputs: Sequence[np.ndarray], **settings) -> list[np.ndarray]:
    """Load a trusted file in this process and run it once.

    Args:
        source: the file's bytes, or its path.
        inputs: an array for each input, of its shape and dtype.
        **settings: as ``load`` takes them.

    Returns:
        An array for each output.

    Raises:
        FlatbufferError, RunError, RuntimeError, ValueError: as ``load`` and ``LoadedModel.run``.
    """
    with load(source, **settings) as loaded:
        return loaded.run(inputs)


def run_isolated(source, inputs: Sequence[np.ndarray], **settings) -> list[np.ndarray]:
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
    """
    with load_isolated(source, **settings) as loaded:
        return loaded.run(inputs)


def _read(source: bytes | str | os.PathLike) -> tuple[bytes, TFLiteModel]:
    if isinstance(source, bytes):
        return source, read_model(source)
    with open(source, "rb") as file:
        content = file.read()
    return content, read_model(content, name=os.fspath(source))


def _settings(runtime, model, kernels, *, threads, signature, keep_all) -> dict:
    if kernels not in KERNELS:
        raise ValueError(f"Unknown kernel set. Supported: {list(KERNELS)}. Received: {kernels!r}")
    if not isinstance(threads, int) or threads < 1:
        raise ValueError(f"At least one thread is needed. Received: threads={threads!r}")
    inputs, outputs = ports(model, signature)
    by = "name" if signature is not None else "index"
    return {
        "module": runtime.module,
        "kernels": kernels,
        "threads": threads,
        "inputs": [getattr(port, by) for port in inputs],
        "outputs": [getattr(port, by) for port in outputs],
        "signature": signature,
        "keep_all": keep_all,
    }
