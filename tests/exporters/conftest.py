"""The last tflite-runtime, in a Python of its own."""

import os
import pathlib
import shutil
import subprocess
import sys
import venv

import pytest


@pytest.fixture(scope="session")
def old_runtime():
    """A Python with tflite-runtime 2.14.0 and nothing newer, made once and kept in the cache."""
    if sys.version_info >= (3, 12):
        pytest.skip("tflite-runtime 2.14.0 has no wheel for this Python; it needs 3.11 at most")
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    folder = cache / "tfcompress" / f"tflite-runtime-2.14.0-py{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "-q", "tflite-runtime==2.14.0", "numpy<2"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode:
            shutil.rmtree(folder)
            pytest.skip(
                f"tflite-runtime 2.14.0 cannot be installed: {answer.stderr.strip()[-200:]}"
            )
        (folder / "complete").touch()
    return python
