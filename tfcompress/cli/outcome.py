"""How a command shows what it found: text for people, JSON for programs."""

import argparse
import contextlib
import json

from tfcompress.cli.errors import CommandError


def add_parser(commands, name: str, summary: str, description: str, examples: str):
    """Add a subcommand with the flag that all of them have."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


def show(result, as_json: bool) -> None:
    """Print a result that has ``to_text`` and ``to_json``."""
    print(json.dumps(result.to_json(), indent=2) if as_json else result.to_text())


@contextlib.contextmanager
def one_line_errors():
    """Turn what files, data and arguments can cause into an error of one line."""
    from exporters import RunError

    try:
        yield
    except BrokenPipeError:
        raise
    except (ImportError, OSError, RunError, RuntimeError, TypeError, ValueError) as error:
        raise CommandError(" ".join(str(error).split())) from error
