"""What can be typed after ``tfcompress``, read from its argument parsers."""

import argparse
import dataclasses
from collections.abc import Mapping

from tfcompress.compat.argparse_parsers import arguments, subcommands


@dataclasses.dataclass(frozen=True)
class Option:
    """An option of a command.

    Attributes:
        flag: its name, with the dashes.
        help: what it does, in one line.
        takes_value: whether a value follows.
        many: whether several values may follow.
        values: the values that are possible; empty for files and anything else.
    """

    flag: str
    help: str
    takes_value: bool
    many: bool
    values: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes:
        name: its name.
        help: what it does, in one line.
        options: its options, in order.
        words: the words that its argument may be; empty if it takes files, or nothing.
    """

    name: str
    help: str
    options: tuple[Option, ...]
    words: tuple[str, ...]


def read_commands(
    parser: argparse.ArgumentParser, values: Mapping[str, tuple[str, ...]]
) -> tuple[Command, ...]:
    """List the subcommands of a parser.

    Args:
        parser: the command's parser.
        values: the values of options that the parsers do not know, by flag.

    Returns:
        The subcommands, in order.
    """
    return tuple(
        Command(
            name,
            summary,
            tuple(_option(a, values) for a in arguments(inner) if a.option_strings),
            tuple(w for a in arguments(inner) if not a.option_strings for w in a.choices or ()),
        )
        for name, (inner, summary) in subcommands(parser).items()
    )


def _option(action: argparse.Action, values: Mapping[str, tuple[str, ...]]) -> Option:
    flag = max(action.option_strings, key=len)
    return Option(
        flag=flag,
        help=" ".join((action.help or "").split()),
        takes_value=action.nargs != 0,
        many=action.nargs in ("+", "*"),
        values=tuple(map(str, action.choices or values.get(flag, ()))),
    )
