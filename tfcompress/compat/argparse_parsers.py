"""What an ``argparse`` parser knows and only its help says."""

import argparse


def subcommands(parser: argparse.ArgumentParser) -> dict[str, tuple[argparse.ArgumentParser, str]]:
    """Return the subcommands of a parser, in order.

    Args:
        parser: a parser with ``add_subparsers``.

    Returns:
        By name, the parser of each and its help, "" where it has none.
    """
    action = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
    return {name: (inner, summaries.get(name, "")) for name, inner in action.choices.items()}


def arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the arguments and options of a parser that its help shows, in order."""
    return [action for action in parser._actions if action.help != argparse.SUPPRESS]
