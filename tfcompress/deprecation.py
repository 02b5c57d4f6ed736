"""Renamed public names and arguments: the old name works for one release, with a warning."""

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

_Function = TypeVar("_Function", bound=Callable[..., Any])


def with_old_names(
    package: str, getattribute: Callable[[str], Any], renamed: Mapping[str, str]
) -> Callable[[str], Any]:
    """Extend a package's ``__getattr__`` by old names, mapped to new ones, which warn."""

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


def renamed_arguments(**renamed: str) -> Callable[[_Function], _Function]:
    """Let a function take keyword arguments under old names, mapped to new ones, which warn."""

    def decorated(function: _Function) -> _Function:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            method = function.__name__ == "__init__"
            owner = type(args[0]).__name__ if method else function.__name__
            for old in renamed.keys() & kwargs.keys():
                new = renamed[old]
                if new in kwargs:
                    raise TypeError(
                        f"`{old}` is the former name of `{new}` of {owner}: pass `{new}` alone. "
                        f"Received: {old}={kwargs[old]!r}, {new}={kwargs[new]!r}"
                    )
                warnings.warn(
                    f"`{old}` of {owner} is now `{new}`; the old name will be removed in the next "
                    "release.",
                    DeprecationWarning,
                    stacklevel=2,
                )
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return cast(_Function, call)

    return decorated


def old_attribute(old: str, new: str) -> property:
    """Make the property under which a renamed attribute is still found, with a warning."""

    def warn(owner: Any) -> None:
        kind = type(owner).__name__
        warnings.warn(
            f"{kind}.{old} is now {kind}.{new}; the old name will be removed in the next release.",
            DeprecationWarning,
            stacklevel=3,
        )

    def read(owner: Any) -> Any:
        warn(owner)
        return getattr(owner, new)

    def write(owner: Any, value: Any) -> None:
        warn(owner)
        setattr(owner, new, value)

    return property(read, write)
