"""Ctrl-C that reliably ends long work.

Python raises ``KeyboardInterrupt`` wherever the main thread happens to be. In a finalizer the
exception is dropped with a line on the terminal, and native code turns it into errors of its own:
the training continues, or ends as if it had failed. So the signal is remembered, too.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


class Interruption:
    """A signal handler that raises ``KeyboardInterrupt`` and remembers the signal."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._deferred = False

    def __call__(self, number: int, frame: Any) -> None:
        """Handle a signal; only the first one can be deferred."""
        del frame
        first, self.signal = self.signal is None, number
        if not (first and self._deferred):
            self.check()

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if there was a signal."""
        if self.signal is not None:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Raise at the end of a block instead of inside it."""
        before, self._deferred = self._deferred, True
        try:
            yield
        finally:
            self._deferred = before
            if not before:
                self.check()

    @contextlib.contextmanager
    def handling(self, *signals: int) -> Iterator[None]:
        """Handle signals within a block, and end it with ``KeyboardInterrupt`` if there was one.

        Signals that the program handles or ignores itself are left as they are.
        """
        before = {number: signal.getsignal(number) for number in signals if _is_free(number)}
        deferred = self._deferred
        try:
            with _silent_when_dropped() if before else contextlib.nullcontext():
                with self.deferred():
                    for number in before:
                        signal.signal(number, self)
                yield
        except Exception as error:
            if self.signal is not None:
                raise KeyboardInterrupt from error
            raise
        finally:
            self._deferred = True  # raised in here, it would leave a handler behind
            for number, handler in before.items():
                signal.signal(number, handler)
            self._deferred = deferred
        self.check()


@contextlib.contextmanager
def reliable_interruption(*signals: int) -> Iterator[Interruption]:
    """End interrupted work with ``KeyboardInterrupt``, whatever the work itself ended with.

    A block inside another one shares its handler. In a thread other than the main one, and where
    the program handles or ignores a signal itself, nothing changes.

    Args:
        signals: those that interrupt, beside SIGINT.

    Example:
    >>> with reliable_interruption():
    ...     ...
    """
    interruption = _current() or Interruption()
    with interruption.handling(signal.SIGINT, *signals):
        yield interruption


def raise_pending_interruption() -> None:
    """Raise ``KeyboardInterrupt`` if a signal came and its exception was dropped."""
    interruption = _current()
    if interruption is not None:
        interruption.check()


def deferred_interruption() -> contextlib.AbstractContextManager:
    """Defer interruptions to the end of a block, inside of ``reliable_interruption``.

    Example:
    >>> with deferred_interruption():
    ...     ...
    """
    interruption = _current() if _in_main_thread() else None
    return contextlib.nullcontext() if interruption is None else interruption.deferred()


def _current() -> Interruption | None:
    """Return what handles a signal now; a command in the background of a shell ignores SIGINT."""
    handlers = (signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM))
    return next((each for each in handlers if isinstance(each, Interruption)), None)


def _is_free(number: int) -> bool:
    """Tell whether this thread may handle a signal, and the program leaves it alone."""
    defaults = (signal.default_int_handler, signal.SIG_DFL)
    return _in_main_thread() and signal.getsignal(number) in defaults


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def _silent_when_dropped() -> Iterator[None]:
    """Print nothing where Python drops ``KeyboardInterrupt``: it is raised again later."""
    report = sys.unraisablehook

    def others(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            report(unraisable)

    sys.unraisablehook = others
    try:
        yield
    finally:
        sys.unraisablehook = report
