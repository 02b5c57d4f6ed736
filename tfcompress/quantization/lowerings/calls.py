"""Calls of layers in a context of their own."""

from collections.abc import Callable
from contextlib import AbstractContextManager


def call_within(context: Callable[[], AbstractContextManager], call: Callable) -> Callable:
    """Return a layer's call that runs in a context, which is made anew each time."""

    def run(*args, **kwargs):
        with context():
            return call(*args, **kwargs)

    return run
