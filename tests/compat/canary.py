"""Tests that fall first when a library moves what `tfcompress.compat` uses."""

import functools
import importlib.metadata

import pytest


def canary(library: str, *names: str):
    """Let a test say which private names of which library do not do any more what they did."""

    def decorate(test):
        @functools.wraps(test)
        def run(*args, **kwargs):
            try:
                test(*args, **kwargs)
            except Exception as error:
                pytest.fail(
                    f"{library} {importlib.metadata.version(library)} has moved or changed "
                    f"{', '.join(names)}: mend tfcompress/compat. {type(error).__name__}: {error}"
                )

        return run

    return decorate
