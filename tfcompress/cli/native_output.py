"""Keeping the chatter of native libraries off the terminal without losing it."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def diverted_native_output(log: pathlib.Path) -> Iterator[None]:
    """Send what native code writes to the standard error stream to a file.

    TensorFlow and the interpreters write there from C++ while they load and work, past Python.
    What Python itself writes to ``sys.stderr`` still reaches the terminal.

    Args:
        log: the file; begun anew.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    python_stream = sys.stderr
    with (
        open(log, "wb") as file,
        os.fdopen(terminal, "w", buffering=1, closefd=False) as stream,
    ):
        try:
            os.dup2(file.fileno(), 2)
            sys.stderr = stream
            yield
        finally:
            sys.stderr = python_stream
            os.dup2(terminal, 2)
            os.close(terminal)
