"""The entry point of the command: parses the arguments and runs a subcommand.

Exit codes: 0 when the command did what was asked, 1 when a check failed, 2 for an error that the
user can correct (one line says how), 130 after Ctrl-C, 143 after SIGTERM.
"""

import os
import shlex
import signal
import sys

from absl.flags import argparse_flags

import tfcompress
from tfcompress.cli import (
    completion,
    compress_command,
    file_commands,
    model_commands,
    quickstart_command,
    report_command,
)
from tfcompress.cli.command import EXIT_SIGNALLED, EXIT_USAGE, CommandError
from tfcompress.compat.versions import UnsupportedVersionError
from tfcompress.interruption import Interruption

_COMMANDS = (
    quickstart_command,
    compress_command,
    model_commands,
    file_commands,
    report_command,
    completion,
)


class _Parser(argparse_flags.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message):
        """Print the error and how to get help."""
        self.exit(EXIT_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def make_parser() -> _Parser:
    """Build the parser with every subcommand."""
    parser = _Parser(
        prog="tfcompress",
        description="Prune, quantize, distil and export Keras models.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"tfcompress {tfcompress.__version__}"
    )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=_Parser
    )
    for command in _COMMANDS:
        command.add_to(commands)
    return parser


def run(arguments: list[str] | None = None) -> None:
    """Run the command with arguments, those of the process by default, and exit with its code."""
    given = sys.argv[1:] if arguments is None else arguments
    interruption, code = Interruption(), 0
    try:
        with interruption.handling(signal.SIGINT, signal.SIGTERM):
            parser = make_parser()
            if "_ARGCOMPLETE" in os.environ:
                completion.complete(parser)
            parsed, unknown = parser.parse_known_args(given)
            if unknown:
                parsed.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
            parsed.command_line = shlex.join(["tfcompress", *given])
            code = parsed.run(parsed) or 0
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader had enough. What is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (CommandError, UnsupportedVersionError) as error:
        print(f"tfcompress: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        print("tfcompress: interrupted", file=sys.stderr)
        sys.exit(EXIT_SIGNALLED + (interruption.signal or signal.SIGINT))
    sys.exit(code)
