"""Whether a model is being traced for its file: what kernels do by themselves is left out then."""

import contextlib
import threading
from collections.abc import Iterator

_thread = threading.local()


@contextlib.contextmanager
def deploying() -> Iterator[None]:
    """Trace models for their file while the block runs, in this thread."""
    before = is_deploying()
    _thread.deploying = True
    try:
        yield
    finally:
        _thread.deploying = before


def is_deploying() -> bool:
    """Tell whether models are being traced for their file, in this thread."""
    return getattr(_thread, "deploying", False)
