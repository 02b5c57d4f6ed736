"""``--import``: modules of the user's, with the layers and functions that a saved model names."""

import importlib
import os
import sys
import types
from typing import Any

from tfcompress.cli.errors import CommandError


def add_import_option(parser) -> None:
    """Add ``--import`` to the parser of a command that loads models."""
    parser.add_argument(
        "--import",
        dest="modules",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="modules, looked for from the current folder on, that define the model's own layers",
    )


def import_module(name: str, flag: str) -> types.ModuleType:
    """Import a module of the user's, from the current folder on.

    Args:
        name: the module.
        flag: the option that named it, for errors.

    Raises:
        CommandError: there is no such module, or it lacks another one.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CommandError(
            f"{flag}: {error}. A module is named as in an import statement, such as own_layers for "
            f"own_layers.py in the current folder. Received: {name}"
        ) from error


def own_objects(modules: list[str], data: list[str | None]) -> dict[str, Any]:
    """Import what may define a model's own layers.

    Args:
        modules: modules of ``--import``.
        data: arguments of ``--data`` and the like; the modules of functions among them count too.

    Returns:
        The classes and functions that the modules define themselves, by name. Those that are
        registered with Keras need no more than the import.
    """
    named = [(name, "--import") for name in modules]
    named += [(text.partition(":")[0], "--data") for text in data if is_function(text)]
    found = {}
    for name, flag in named:
        module = import_module(name, flag)
        found |= {
            key: value
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
        }
    return found


def is_function(argument: str | None) -> bool:
    """Tell whether an argument names a function as module:function."""
    return argument is not None and ":" in argument and not os.path.exists(argument)
