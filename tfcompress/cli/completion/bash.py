"""The script for bash, whose completion functions fill the array COMPREPLY."""

import shlex
from collections.abc import Sequence

from tfcompress.cli.completion.commands import Command

_SCRIPT = """\
# Completion of tfcompress for bash: eval "$(tfcompress completion bash)"
_tfcompress() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}} option='' words='' place
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    words={names}
  else
    for ((place = COMP_CWORD - 1; place > 1; place--)); do
      [[ ${{COMP_WORDS[place]}} == --* ]] && option=${{COMP_WORDS[place]}} && break
    done
    if [[ $current == -* ]]; then
      case $command in
{flags}
      esac
    else
      case "$command $option $((COMP_CWORD - place))" in
{values}
      esac
    fi
  fi
  [[ $words ]] && mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -o default -F _tfcompress tfcompress
"""


def bash_script(commands: Sequence[Command]) -> str:
    """Write the script.

    Args:
        commands: the subcommands.

    Returns:
        Lines for ``eval``; where nothing is known bash completes files.
    """
    flags, values = [], []
    for command in commands:
        names = " ".join(option.flag for option in command.options)
        flags.append(f"        {command.name}) words={shlex.quote(names)} ;;")
        for option in command.options:
            if option.values:
                count = "*" if option.many else "1"
                values.append(_case(f"{command.name} {option.flag} ", count, option.values))
        if command.words:
            values.append(_case(f"{command.name}  ", "1", command.words))
    return _SCRIPT.format(
        names=shlex.quote(" ".join(command.name for command in commands)),
        flags="\n".join(flags),
        values="\n".join(values),
    )


def _case(head: str, count: str, words: Sequence[str]) -> str:
    return f"        {shlex.quote(head)}{count}) words={shlex.quote(' '.join(words))} ;;"
