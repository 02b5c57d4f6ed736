"""Functions that run once another package has been imported, whoever imports it.

The finder and the loader have no base classes: ``importlib.abc`` would be most of what importing
this package costs.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast


def after_import(name: str, function: Callable[[], None]) -> None:
    """Call a function after a package is imported; at once if it is already.

    Args:
        name: the package, such as "keras".
        function: takes nothing. What it raises, the import raises.
    """
    if name in sys.modules:
        function()
    else:
        sys.meta_path.insert(0, _Finder(name, function))


class _Finder:
    """Finds one package where the others do, and has its loader call a function."""

    def __init__(self, name: str, function: Callable[[], None]):
        self.name = name
        self.function = function
        self._asking = False

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return what the other finders know of the package."""
        if fullname != self.name or self._asking:
            return None
        self._asking = True  # another finder like this one asks back
        try:
            specs = (finder.find_spec(fullname, path, target) for finder in sys.meta_path)
            spec = next((spec for spec in specs if spec is not None), None)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            spec.loader = cast(Any, _Loader(spec.loader, self))
        return spec


class _Loader:
    """Loads a package as its own loader does, then calls the function, once."""

    def __init__(self, loader: Any, finder: _Finder):
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then the function."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
            self._finder.function()
