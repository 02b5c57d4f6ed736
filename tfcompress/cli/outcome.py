"""How a command works and shows what it found: text for people, JSON for programs."""

import argparse
import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Iterator

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
def work(as_json: bool) -> Iterator[None]:
    """Surround what a command does before it shows the result.

    What files, data and arguments can cause becomes an error of one line. With ``--json``, whatever
    code of the user's and libraries print goes to the standard error stream: a program that reads
    the output gets the JSON alone.
    """
    with one_line_errors(), _printing_to_stderr() if as_json else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what files, data and arguments can cause into an error of one line."""
    from exporters import RunError

    try:
        yield
    except BrokenPipeError:
        raise
    except (ImportError, OSError, RunError, RuntimeError, TypeError, ValueError) as error:
        raise CommandError(" ".join(str(error).split())) from error
    except Exception as error:
        # TensorFlow's own errors, as a dataset of the user's raises them.
        if not type(error).__module__.startswith("tensorflow."):
            raise
        raise CommandError(" ".join(str(error).split())) from error


@contextlib.contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """Let Python, native code and child processes print to the standard error stream."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if os.name == "posix":
            ctypes.CDLL(None).fflush(None)  # what C has not written yet
        os.dup2(kept, 1)
        os.close(kept)
