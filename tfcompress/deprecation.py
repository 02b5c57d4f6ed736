"""Public names that were renamed: the old name works for one release, with a warning."""

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
