"""The runtimes for .tflite files that are installed, found without importing them."""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import subprocess
import sys

# In the order of preference: LiteRT, its predecessor, and TensorFlow's own copy.
_MODULES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow",
}
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
        name: its distribution: "ai-edge-litert", "tflite-runtime" or "tensorflow".
        version: its version.
        python: the Python that has it; a runtime of another Python runs in a child process only.
    """

    name: str
    version: str
    python: str = sys.executable

    @property
    def module(self) -> str:
        """The module that holds its interpreter."""
        return _MODULES[self.name]

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


def find_runtime(runtime: Runtime | str | None = None) -> Runtime:
    """Find one runtime.

    Args:
        runtime: a runtime (returned as it is), its name, or None for the preferred one.

    Returns:
        The runtime.

    Raises:
        RuntimeError: it is not installed, or none is.
        ValueError: the name is unknown.
    """
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
