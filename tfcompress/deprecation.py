"""Renamed public names and arguments: the old name works for one release, with a warning."""

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def with_old_names(
    package: str, getattribute: Callable[[str], Any], renamed: Mapping[str, str]
) -> Callable[[str], Any]:
    """Extend a package's ``__getattr__`` by old names that warn.

    Args:
        package: the package's name.
        getattribute: its ``__getattr__``.
        renamed: new names by old ones.
    """

    def extended(name: str) -> Any:
        if name not in renamed:
            return getattribute(name)
        warnings.warn(
            f"{package}.{name} is now {package}.{renamed[name]}; the old name will be removed in "
            "the next release.",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(importlib.import_module(package), renamed[name])

    return extended


def renamed_arguments(**names: str) -> Callable:
    """Make a decorator that accepts the former names of keyword arguments.

    Args:
        **names: the new name of each argument, by its old one.

    Example:
    >>> @renamed_arguments(most="max_examples")
    ... def count(max_examples): return max_examples
    >>> count(most=3)
    3
    """

    def decorate(function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            for old in names.keys() & kwargs.keys():
                new = names[old]
                if new in kwargs:
                    raise TypeError(
                        f"`{old}` is the former name of `{new}`: pass `{new}` alone. "
                        f"Received: {old}={kwargs[old]!r}, {new}={kwargs[new]!r}"
                    )
                warnings.warn(
                    f"The argument `{old}` was renamed: use `{new}`. The old name will be removed "
                    "in the next release.",
                    DeprecationWarning,
                    stacklevel=2,
                )
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate
