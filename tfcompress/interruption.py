"""Ctrl-C that is certain to end long work.

Python raises ``KeyboardInterrupt`` wherever the main thread happens to be. In a finalizer it is
dropped with a line on the terminal, and native code turns it into errors of its own: the training
goes on, or ends as if it had failed. So the signal is remembered, too.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Interruption:
    """A signal handler that raises ``KeyboardInterrupt`` and remembers the signal."""

    def __init__(self):
        self.signal: int | None = None

    def __call__(self, number, frame):
        """Take a signal."""
        del frame
        self.signal = number
        self.check()

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if there was a signal."""
        if self.signal is not None:
            raise KeyboardInterrupt


@contextlib.contextmanager
def certain_interruption(*signals: int) -> Iterator[Interruption]:
    """Make sure that work which was interrupted ends with ``KeyboardInterrupt``.

    Within another one it takes part in that one. In a thread, and where the program handles or
    ignores signals itself, nothing is changed.

    Args:
        signals: those that interrupt, beside SIGINT.

    Raises:
        KeyboardInterrupt: there was a signal, whatever the work itself ended with.

    Example:
    >>> with certain_interruption():
    ...     ...
    """
    interruption = _current() or Interruption()
    try:
        with contextlib.ExitStack() as stack:
            if threading.current_thread() is threading.main_thread():
                for number in (signal.SIGINT, *signals):
                    if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
                        stack.callback(
                            signal.signal, number, signal.signal(number, interruption)
                        )
            yield interruption
    except Exception as error:
        if interruption.signal is not None:
            raise KeyboardInterrupt from error
        raise
    interruption.check()


def raise_lost_interruption() -> None:
    """Raise ``KeyboardInterrupt`` if a signal came and the exception was lost; ask now and then."""
    interruption = _current()
    if interruption is not None:
        interruption.check()


def _current() -> Interruption | None:
    handler = signal.getsignal(signal.SIGINT)
    return handler if isinstance(handler, Interruption) else None
