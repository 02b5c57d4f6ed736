"""Instance attributes that Keras does not track.

Keras's own ``__setattr__`` looks at every value that a layer, a model or an optimizer gets, and
keeps variables and saveable objects. What is written to ``__dict__`` passes it by, and stands
before a method or an attribute of the class.
"""

import contextlib
from collections.abc import Iterator


def set_untracked(owner, name: str, value) -> None:
    """Set an attribute of a Keras object that Keras neither tracks nor saves.

    Args:
        owner: a layer, an operation, a model, an optimizer or a callback.
        name: the attribute's name. One of the class is hidden until ``remove_untracked``.
        value: its value.
    """
    owner.__dict__[name] = value


def get_untracked(owner, name: str, default=None):
    """Return an attribute that the instance itself holds, or a default: nothing of its class."""
    return owner.__dict__.get(name, default)


def has_untracked(owner, name: str) -> bool:
    """Tell whether the instance itself holds an attribute, and not only its class."""
    return name in owner.__dict__


def remove_untracked(owner, name: str) -> None:
    """Remove an attribute of the instance, if there is one: that of the class shows again."""
    owner.__dict__.pop(name, None)


@contextlib.contextmanager
def replaced_attributes(owner, **values) -> Iterator[None]:
    """Give attributes of a Keras object other values while a ``with`` block runs.

    Args:
        owner: the object. Its own attributes are back afterwards, its class's too.
        **values: the values by name.
    """
    own = {name: owner.__dict__[name] for name in values if name in owner.__dict__}
    owner.__dict__.update(values)
    try:
        yield
    finally:
        for name in values:
            del owner.__dict__[name]
        owner.__dict__.update(own)
