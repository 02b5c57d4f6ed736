"""Ctrl-C that is certain to end long work.

Python raises ``KeyboardInterrupt`` wherever the main thread happens to be. In a finalizer it is
dropped with a line on the terminal, and native code turns it into errors of its own: the training
goes on, or ends as if it had failed. So the signal is remembered, too.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterable, Iterator


class Interruption:
    """A signal handler that raises ``KeyboardInterrupt`` and remembers the signal."""

    def __init__(self):
        self.signal: int | None = None
        self._put_off = False

    def __call__(self, number, frame):
        """Take a signal. A second one is never put off."""
        del frame
        first, self.signal = self.signal is None, number
        if not (first and self._put_off):
            self.check()

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if there was a signal."""
        if self.signal is not None:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def put_off(self) -> Iterator[None]:
        """Raise not in a block, but at its end."""
        before, self._put_off = self._put_off, True
        try:
            yield
        finally:
            self._put_off = before
            if not before:
                self.check()

    @contextlib.contextmanager
    def certain(self, *signals: int) -> Iterator[None]:
        """Take signals within a block, and end it with ``KeyboardInterrupt`` if there was one.

        Args:
            signals: those to take, as far as the thread may and the program leaves them as they
                are.

        Raises:
            KeyboardInterrupt: there was a signal, whatever the block itself ended with.
        """
        before = {number: signal.getsignal(number) for number in _free(signals)}
        put_off = self._put_off
        try:
            with _dropped_silently() if before else contextlib.nullcontext():
                with self.put_off():
                    for number in before:
                        signal.signal(number, self)
                yield
        except Exception as error:
            if self.signal is not None:
                raise KeyboardInterrupt from error
            raise
        finally:
            self._put_off = True  # raised in here, it would leave a handler behind
            for number, handler in before.items():
                signal.signal(number, handler)
            self._put_off = put_off
        self.check()


@contextlib.contextmanager
def certain_interruption(*signals: int) -> Iterator[Interruption]:
    """Make sure that work which was interrupted ends with ``KeyboardInterrupt``.

    Within another one it takes part in that one. In a thread, and where the program handles or
    ignores signals itself, nothing is changed. What Python would print where it drops the exception
    is not printed.

    Args:
        signals: those that interrupt, beside SIGINT.

    Raises:
        KeyboardInterrupt: there was a signal, whatever the work itself ended with.

    Example:
    >>> with certain_interruption():
    ...     ...
    """
    interruption = _current() or Interruption()
    with interruption.certain(signal.SIGINT, *signals):
        yield interruption


def raise_lost_interruption() -> None:
    """Raise ``KeyboardInterrupt`` if a signal came and the exception was lost; ask now and then."""
    interruption = _current()
    if interruption is not None:
        interruption.check()


def undisturbed() -> contextlib.AbstractContextManager:
    """Put an interruption off to the end of a block that must not be left halfway.

    Within ``certain_interruption`` alone; elsewhere nothing is changed.

    Example:
    >>> with undisturbed():
    ...     ...
    """
    interruption = _current() if _in_main_thread() else None
    return contextlib.nullcontext() if interruption is None else interruption.put_off()


def _current() -> Interruption | None:
    handler = signal.getsignal(signal.SIGINT)
    return handler if isinstance(handler, Interruption) else None


def _free(numbers: Iterable[int]) -> list[int]:
    """Return the signals that this thread may take, and that the program leaves as they are."""
    defaults = (signal.default_int_handler, signal.SIG_DFL)
    return [n for n in numbers if _in_main_thread() and signal.getsignal(n) in defaults]


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def _dropped_silently() -> Iterator[None]:
    """Print nothing where Python drops the exception: it comes again."""
    report = sys.unraisablehook

    def others(unraisable):
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            report(unraisable)

    sys.unraisablehook = others
    try:
        yield
    finally:
        sys.unraisablehook = report
