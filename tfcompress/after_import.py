"""Functions that run once another package has been imported, whoever imports it.

The finder and the loader have no base classes: ``importlib.abc`` would be most of what importing
this package costs.
"""

import sys
from collections.abc import Callable, Collection, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast


def after_import(name: str, function: Callable[[], None], unfinished: Collection[str] = ()) -> None:
    """Call a function after a package is imported; at once if it is already.

    Args:
        name: the package, such as "keras".
        function: takes nothing. What it raises, the import raises.
        unfinished: packages that the function imports modules of. If one of their modules imports
            the package, the function waits for its end.
    """
    if name in sys.modules:
        function()
    else:
        sys.meta_path.insert(0, _Finder(name, function, unfinished))


class _Finder:
    """Finds modules where the others do, and learns from their loaders when they are there."""

    def __init__(self, name: str, function: Callable[[], None], unfinished: Collection[str]):
        self._name = name
        self._function = function
        self._unfinished = unfinished
        self._asking = False
        self._running = 0  # modules
        self._is_there = False

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return what the other finders know of a module."""
        is_ours = fullname.split(".", maxsplit=1)[0] in self._unfinished
        if self._asking or not (is_ours or fullname == self._name):
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

    def run(self, loader: Any, module: ModuleType) -> None:
        """Run a module, and the function once the package is there and no module is left."""
        self._running += 1
        try:
            loader.exec_module(module)
        finally:
            self._running -= 1
        self._is_there = self._is_there or module.__name__ == self._name
        if self._is_there and not self._running and self in sys.meta_path:
            sys.meta_path.remove(self)
            self._function()


class _Loader:
    """Loads a module as its own loader does, by way of the finder."""

    def __init__(self, loader: Any, finder: _Finder):
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._finder.run(self._loader, module)
