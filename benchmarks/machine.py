"""Where figures were measured: the machine, the versions, the commit."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess

PACKAGES = (
    "tensorflow",
    "keras",
    "tf-keras",
    "tensorflow-model-optimization",
    "ai-edge-litert",
    "numpy",
)
ROOT = pathlib.Path(__file__).resolve().parents[1]


def describe_machine():
    """Return the kind of machine and the versions of Python and of what is installed."""
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def current_commit():
    """Return the commit that is checked out, with "+" where tracked files differ from it.

    The folder of results does not count; None outside of a repository.
    """
    commit = _git("rev-parse", "--short", "HEAD")
    if not commit:
        return None
    changed = _git("status", "--porcelain", "-uno", "--", ".", ":!benchmarks/results", ":!docs")
    return commit + ("+" if changed else "")


def _git(*arguments):
    run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.strip()


def _processor():
    information = pathlib.Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
