"""``tfcompress completion``: a script that lets a shell complete the command."""

import argparse
import json

from tfcompress.cli.command import add_parser

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
        run,
    )
    parser.add_argument("shell", choices=("bash", "fish", "zsh"), help="the shell")


def run(arguments) -> None:
    """Run the subcommand."""
    import argcomplete

    script = argcomplete.shellcode(["tfcompress"], shell=arguments.shell)
    if arguments.json:
        print(json.dumps({"shell": arguments.shell, "script": script}, indent=2))
    else:
        print(script, end="")


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks, by the script's environment variables, and end the process."""
    import argcomplete

    argcomplete.autocomplete(
        parser, always_complete_options=False, default_completer=_values_or_files
    )


def _values_or_files(prefix: str, action: argparse.Action, **_) -> list[str]:
    """Offer the values of options whose choices the parser does not know; files for others."""
    import argcomplete

    if action.dest == "target":
        from tfcompress.targets import list_targets

        return list(list_targets())
    if action.dest == "kernels":
        from exporters.running.child import KERNELS

        return list(KERNELS)
    return argcomplete.FilesCompleter()(prefix)
