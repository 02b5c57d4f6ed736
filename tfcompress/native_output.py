"""Keeping the chatter of native libraries off the terminal without losing what Python writes."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

# The stream belongs to the process: threads take turns, or the last to end would put back what
# another had silenced.
_TURN = threading.RLock()


def is_wanted() -> bool:
    """Tell whether the user asks for what TensorFlow says: TF_CPP_MIN_LOG_LEVEL=0."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0"


@contextlib.contextmanager
def silenced_error_stream(log: str | os.PathLike = os.devnull) -> Iterator[None]:
    """Send what is written to the process's standard error stream, past Python, to a new file."""
    with contextlib.ExitStack() as undoing:
        with contextlib.suppress(OSError):  # a process may have no such stream
            terminal = os.dup(2)
            undoing.callback(os.close, terminal)
            file = undoing.enter_context(open(log, "wb"))
            os.dup2(file.fileno(), 2)
            undoing.callback(os.dup2, terminal, 2)
        yield


@contextlib.contextmanager
def silenced_tensorflow() -> Iterator[None]:
    """Keep what TensorFlow's C++ remarks off the terminal, unless the user asks for it."""
    with _TURN, contextlib.nullcontext() if is_wanted() else silenced_error_stream():
        yield


@contextlib.contextmanager
def diverted_native_output(log: str | os.PathLike = os.devnull) -> Iterator[None]:
    """Send what native code writes to the standard error stream to a new file, for a whole command.

    TensorFlow and the interpreters write there from C++ while they load and work, past Python. What
    Python itself writes to ``sys.stderr`` still reaches the terminal.
    """
    python_stream = sys.stderr
    python_stream.flush()
    # Never closed: loggers that libraries set up meanwhile go on writing there.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, closefd=False)
    try:
        with silenced_error_stream(log):
            yield
    finally:
        sys.stderr = python_stream
