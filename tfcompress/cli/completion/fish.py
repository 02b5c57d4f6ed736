"""The script for fish, which has a line ``complete`` for each thing that can be typed."""

from collections.abc import Sequence

from tfcompress.cli.completion.commands import Command, Option


def fish_script(commands: Sequence[Command]) -> str:
    """Write the script.

    Args:
        commands: the subcommands.

    Returns:
        Lines for ``source``.
    """
    lines = ["# Completion of tfcompress for fish: tfcompress completion fish | source"]
    for command in commands:
        lines.append(
            f"complete -c tfcompress -n __fish_use_subcommand -f -a {command.name} "
            f"-d {_quoted(command.help)}"
        )
    for command in commands:
        seen = f"complete -c tfcompress -n '__fish_seen_subcommand_from {command.name}'"
        lines += [f"{seen} {_option(option)}" for option in command.options]
        if command.words:
            lines.append(f"{seen} -f -a {_quoted(' '.join(command.words))}")
    return "\n".join(lines) + "\n"


def _option(option: Option) -> str:
    text = f"-l {option.flag.removeprefix('--')} -d {_quoted(option.help)}"
    if option.values:
        return f"{text} -x -a {_quoted(' '.join(option.values))}"
    return f"{text} -r" if option.takes_value else text


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
