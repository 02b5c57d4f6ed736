"""Instance attributes that Keras does not track.

Keras's own ``__setattr__`` looks at every value that a layer, a model or an optimizer gets, and
keeps variables and saveable objects. What is written to ``__dict__`` passes it by, and stands
before a method or an attribute of the class.
"""

import contextlib
from collections.abc import Iterator
from typing import Any


def set_untracked(owner: Any, name: str, value: Any) -> None:
    """Set an attribute of a Keras object that Keras neither tracks nor saves.

    One of the class is hidden until ``remove_untracked``.
    """
    owner.__dict__[name] = value


def get_untracked(owner: Any, name: str, default: Any = None) -> Any:
    """Return an attribute that the instance itself holds, or a default: nothing of its class."""
    return owner.__dict__.get(name, default)


def has_untracked(owner: Any, name: str) -> bool:
    """Tell whether the instance itself holds an attribute, and not only its class."""
    return name in owner.__dict__


def remove_untracked(owner: Any, name: str) -> None:
    """Remove an attribute of the instance, if there is one: that of the class shows again."""
    owner.__dict__.pop(name, None)


@contextlib.contextmanager
def replaced_attributes(owner: Any, **values: Any) -> Iterator[None]:
    """Give attributes of an object itself other values, by name, while a ``with`` block runs."""
    own = {name: owner.__dict__[name] for name in values if name in owner.__dict__}
    owner.__dict__.update(values)
    try:
        yield
    finally:
        for name in values:
            del owner.__dict__[name]
        owner.__dict__.update(own)
