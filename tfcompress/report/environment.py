"""What a report was made with: versions, the machine, and the hashes of files."""

import contextlib
import datetime
import hashlib
import importlib.metadata
import os
import pathlib
import platform

from tfcompress.machine import usable_cores

_PACKAGES = ("tfcompress", "ai-edge-litert", "tflite-runtime", "tensorflow", "keras", "numpy")


def describe_environment() -> dict[str, str]:
    """Describe this computer and what is installed on it, without importing anything.

    Returns:
        Values by name; packages that are not installed are left out.
    """
    found = {
        "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
    }
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return {
        **found,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processor cores": str(usable_cores()),
    }


def hash_file(path: str | os.PathLike) -> str:
    """Compute the SHA-256 of a file, in hexadecimal.

    Args:
        path: the file.

    Returns:
        64 digits.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or "unknown"
