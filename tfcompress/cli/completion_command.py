"""``tfcompress completion``: a script that lets a shell complete the command."""

import json

from tfcompress.cli.outcome import add_parser

_SHELLS = ("bash", "fish", "zsh")

_EXAMPLES = """\
  eval "$(tfcompress completion bash)"    # in ~/.bashrc
  eval "$(tfcompress completion zsh)"     # in ~/.zshrc, after compinit
  tfcompress completion fish | source     # in ~/.config/fish/config.fish"""


def add_to(commands) -> None:
    """Add the subcommand to the command's parser."""
    parser = add_parser(
        commands,
        "completion",
        "print a script that completes the command in a shell",
        "Print a script with which a shell completes commands, options and values.",
        _EXAMPLES,
    )
    parser.add_argument("shell", choices=_SHELLS, help="the shell")
    parser.set_defaults(run=run)


def run(arguments) -> None:
    """Run the subcommand."""
    from exporters.running.child import KERNELS
    from tfcompress.cli.completion.bash import bash_script
    from tfcompress.cli.completion.commands import read_commands
    from tfcompress.cli.completion.fish import fish_script
    from tfcompress.cli.completion.zsh import zsh_script
    from tfcompress.cli.main import make_parser
    from tfcompress.targets import list_targets

    values = {"--target": tuple(list_targets()), "--kernels": tuple(KERNELS)}
    write = {"bash": bash_script, "fish": fish_script, "zsh": zsh_script}[arguments.shell]
    script = write(read_commands(make_parser(), values))
    if arguments.json:
        print(json.dumps({"shell": arguments.shell, "script": script}, indent=2))
    else:
        print(script, end="")
