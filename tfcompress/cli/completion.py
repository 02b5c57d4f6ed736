"""``tfcompress completion``: a script that lets a shell complete the command."""

import argparse
import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence

from tfcompress.cli.command import add_parser
from tfcompress.compat.argparse_parsers import arguments, subcommands

_EXAMPLES = """\
  eval "$(tfcompress completion bash)"    # in ~/.bashrc
  eval "$(tfcompress completion zsh)"     # in ~/.zshrc, after compinit
  tfcompress completion fish | source     # in ~/.config/fish/config.fish"""

# Completion functions of bash fill the array COMPREPLY; without an entry bash completes files.
_BASH = """\
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

# _arguments of zsh takes a specification for each option.
_ZSH = """\
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


@dataclasses.dataclass(frozen=True)
class Option:
    """An option of a command; ``values`` are empty for files and anything else."""

    flag: str
    help: str
    takes_value: bool
    many: bool
    values: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Command:
    """A subcommand; ``words`` are the values of its argument, empty for files."""

    name: str
    help: str
    options: tuple[Option, ...]
    words: tuple[str, ...]


def add_to(commands) -> None:
    """Add the subcommand to the command's parser."""
    parser = add_parser(
        commands,
        "completion",
        "print a script that completes the command in a shell",
        "Print a script with which a shell completes commands, options and values.",
        _EXAMPLES,
        run,
    )
    parser.add_argument("shell", choices=tuple(sorted(_SCRIPTS)), help="the shell")


def run(arguments) -> None:
    """Run the subcommand."""
    from exporters.running.runtime import KERNELS
    from tfcompress.cli.main import make_parser
    from tfcompress.targets import list_targets

    values = {"--target": tuple(list_targets()), "--kernels": tuple(KERNELS)}
    script = _SCRIPTS[arguments.shell](read_commands(make_parser(), values))
    if arguments.json:
        print(json.dumps({"shell": arguments.shell, "script": script}, indent=2))
    else:
        print(script, end="")


def read_commands(
    parser: argparse.ArgumentParser, values: Mapping[str, tuple[str, ...]]
) -> tuple[Command, ...]:
    """List a parser's subcommands; ``values`` are those of options, which parsers do not know."""
    found = []
    for name, (subparser, summary) in subcommands(parser).items():
        shown = arguments(subparser)
        options = tuple(_option(action, values) for action in shown if action.option_strings)
        words = tuple(w for a in shown if not a.option_strings for w in a.choices or ())
        found.append(Command(name, summary, options, words))
    return tuple(found)


def _option(action: argparse.Action, values: Mapping[str, tuple[str, ...]]) -> Option:
    flag = max(action.option_strings, key=len)
    return Option(
        flag=flag,
        help=" ".join((action.help or "").split()),
        takes_value=action.nargs != 0,
        many=action.nargs in ("+", "*"),
        values=tuple(map(str, action.choices or values.get(flag, ()))),
    )


def _bash_script(commands: Sequence[Command]) -> str:
    flags, values = [], []
    for command in commands:
        names = " ".join(option.flag for option in command.options)
        flags.append(f"        {command.name}) words={shlex.quote(names)} ;;")
        for option in command.options:
            if option.values:
                count = "*" if option.many else "1"
                values.append(_bash_case(f"{command.name} {option.flag} ", count, option.values))
        if command.words:
            values.append(_bash_case(f"{command.name}  ", "1", command.words))
    return _BASH.format(
        names=shlex.quote(" ".join(command.name for command in commands)),
        flags="\n".join(flags),
        values="\n".join(values),
    )


def _bash_case(head: str, count: str, words: Sequence[str]) -> str:
    return f"        {shlex.quote(head)}{count}) words={shlex.quote(' '.join(words))} ;;"


def _zsh_script(commands: Sequence[Command]) -> str:
    names = (f"    '{_zsh_plain(command.name)}:{_zsh_plain(command.help)}'" for command in commands)
    return _ZSH.format(names="\n".join(names), cases="\n".join(map(_zsh_case, commands)))


def _zsh_case(command: Command) -> str:
    specifications = [_zsh_specification(option) for option in command.options]
    words = f"'*: :({' '.join(command.words)})'" if command.words else "'*:file:_files'"
    return f"        {command.name}) _arguments {' '.join([*specifications, words])} ;;"


def _zsh_specification(option: Option) -> str:
    text = f"{option.flag}[{_zsh_plain(option.help)}]"
    if not option.takes_value:
        return f"'{text}'"
    action = f"({' '.join(option.values)})" if option.values else "_files"
    return f"'{'*' if option.many else ''}{text}:value:{action}'"


def _zsh_plain(text: str) -> str:
    """Remove the characters that quotes and ``_arguments`` interpret."""
    return text.translate(str.maketrans({"'": "", "[": "(", "]": ")", ":": ";", "\\": ""}))


def _fish_script(commands: Sequence[Command]) -> str:
    lines = ["# Completion of tfcompress for fish: tfcompress completion fish | source"]
    for command in commands:
        lines.append(
            f"complete -c tfcompress -n __fish_use_subcommand -f -a {command.name} "
            f"-d {_fish_quoted(command.help)}"
        )
    for command in commands:
        seen = f"complete -c tfcompress -n '__fish_seen_subcommand_from {command.name}'"
        lines += [f"{seen} {_fish_option(option)}" for option in command.options]
        if command.words:
            lines.append(f"{seen} -f -a {_fish_quoted(' '.join(command.words))}")
    return "\n".join(lines) + "\n"


def _fish_option(option: Option) -> str:
    text = f"-l {option.flag.removeprefix('--')} -d {_fish_quoted(option.help)}"
    if option.values:
        return f"{text} -x -a {_fish_quoted(' '.join(option.values))}"
    return f"{text} -r" if option.takes_value else text


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


_SCRIPTS = {"bash": _bash_script, "fish": _fish_script, "zsh": _zsh_script}
