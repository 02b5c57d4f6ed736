"""What a long call is doing, on a terminal, once it has taken two seconds."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.status import Status

_DELAY = 2.0  # seconds


@contextlib.contextmanager
def shown_stages(shown: bool, console: Console | None = None) -> Iterator[Callable[[str], None]]:
    """Give a ``with`` block a function that takes the line to show from here on.

    It is shown on the console, the standard error stream when not given; a pipe gets nothing.
    """
    console = console or Console(stderr=True)
    if not (shown and (console.is_terminal or console.is_jupyter)):
        yield lambda text: None
        return
    status = Status("", console=console)
    timer = threading.Timer(_DELAY, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield status.update
    finally:
        timer.cancel()
        timer.join()
        status.stop()
