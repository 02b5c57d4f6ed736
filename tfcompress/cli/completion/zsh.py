"""The script for zsh, whose ``_arguments`` takes a specification for each option."""

from collections.abc import Sequence

from tfcompress.cli.completion.commands import Command, Option

_SCRIPT = """\
#compdef tfcompress
# Completion of tfcompress for zsh, after compinit: eval "$(tfcompress completion zsh)"
_tfcompress() {{
  local -a commands line
  local state
  commands=(
{names}
  )
  _arguments -C '1: :->command' '*:: :->arguments'
  case $state in
    command) _describe command commands ;;
    arguments)
      case $line[1] in
{cases}
      esac
      ;;
  esac
}}
if [[ $funcstack[1] == _tfcompress ]]; then
  _tfcompress "$@"
else
  compdef _tfcompress tfcompress
fi
"""


def zsh_script(commands: Sequence[Command]) -> str:
    """Write the script.

    Args:
        commands: the subcommands.

    Returns:
        Lines for ``eval``, or for a file ``_tfcompress`` in a folder of ``fpath``.
    """
    names = (f"    '{_plain(command.name)}:{_plain(command.help)}'" for command in commands)
    return _SCRIPT.format(names="\n".join(names), cases="\n".join(map(_case, commands)))


def _case(command: Command) -> str:
    specifications = [_specification(option) for option in command.options]
    specifications.append(
        f"'*: :({' '.join(command.words)})'" if command.words else "'*:file:_files'"
    )
    return f"        {command.name}) _arguments {' '.join(specifications)} ;;"


def _specification(option: Option) -> str:
    text = f"{option.flag}[{_plain(option.help)}]"
    if not option.takes_value:
        return f"'{text}'"
    action = f"({' '.join(option.values)})" if option.values else "_files"
    return f"'{'*' if option.many else ''}{text}:value:{action}'"


def _plain(text: str) -> str:
    """Leave out what ``_arguments`` or the quotes would take for their own."""
    return text.translate(str.maketrans({"'": "", "[": "(", "]": ")", ":": ";", "\\": ""}))
