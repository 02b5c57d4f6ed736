"""What the commands share: parsers, errors of one line, output as text or JSON, files to write."""

import argparse
import contextlib
import ctypes
import io
import json
import os
import pathlib
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator

from tfcompress.native_output import diverted_native_output, is_wanted

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_SIGNALLED = 128  # plus the number of the signal, as in shells


class CommandError(Exception):
    """An error that the user can correct: one line, which says how, instead of a traceback."""


def add_parser(
    commands, name: str, summary: str, description: str, examples: str, run: Callable
) -> argparse.ArgumentParser:
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
    parser.set_defaults(run=run, parser=parser)
    return parser


def show(result, as_json: bool) -> None:
    """Print a result that has ``to_text`` and ``to_json``."""
    print(json.dumps(result.to_json(), indent=2) if as_json else result.to_text())


@contextlib.contextmanager
def work(as_json: bool) -> Iterator[None]:
    """Surround the work of a command before it shows the result.

    Errors of files, data and arguments become one line. What TensorFlow says from C++ is not shown,
    unless TF_CPP_MIN_LOG_LEVEL is 0. With ``--json``, what user code and libraries print goes to
    the standard error stream, so that standard output is JSON only.
    """
    nothing = contextlib.nullcontext()
    with (
        _printing_to_stderr() if as_json else nothing,
        nothing if is_wanted() else diverted_native_output(),
        _short_warnings(),
        one_line_errors(),
    ):
        yield


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors of files, data and arguments into a ``CommandError`` of one line."""
    from exporters import RunError

    expected = (ImportError, OSError, RunError, RuntimeError, TypeError, ValueError)
    try:
        yield
    except BrokenPipeError:
        raise
    except Exception as error:
        # TensorFlow's own errors, too, as a dataset of the user's raises them.
        if isinstance(error, expected) or type(error).__module__.startswith("tensorflow."):
            raise CommandError(_in_words(error)) from error
        raise


def _in_words(error: Exception) -> str:
    """Write an error in one line, those of the system without their numbers."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}. Received: {error.filename}"
    return " ".join(str(error).split())


@contextlib.contextmanager
def _short_warnings() -> Iterator[None]:
    """Show warnings as a line each, without the code that they come from."""

    def show(message, *_):
        print(f"tfcompress: warning: {' '.join(str(message).split())}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


class _PresentStderr(io.TextIOBase):
    """Writes to what ``sys.stderr`` is at that moment."""

    def write(self, text: str) -> int:
        """Write text."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush the stream."""
        sys.stderr.flush()


@contextlib.contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """Let Python, native code and child processes print to the standard error stream."""
    sys.stdout.flush()
    stdout = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(_PresentStderr()):
            yield
    finally:
        if os.name == "posix":
            ctypes.CDLL(None).fflush(None)  # what C has not written yet
        os.dup2(stdout, 1)
        os.close(stdout)


def require_other_file(flag: str, out: str | None, read: str) -> None:
    """Check that an option's file, or None, is not the one that the command reads."""
    if out is None or not (os.path.exists(out) and os.path.exists(read)):
        return
    if os.path.samefile(out, read):
        raise CommandError(
            f"{flag} would overwrite the file that is read: choose another name. Received: {out}"
        )


def require_outside(out: str, *read: str | None) -> None:
    """Check that the folder that ``--out`` names is none of those that are read as data."""
    for folder in read:
        if folder is None or not os.path.isdir(folder):
            continue
        if pathlib.Path(out).resolve().is_relative_to(pathlib.Path(folder).resolve()):
            raise CommandError(
                f"--out lies in {folder}, a folder of data, where its files would count as data: "
                f"choose another folder. Received: {out}"
            )


def prepare_folder(name: str) -> pathlib.Path:
    """Create the folder that ``--out`` names, and check before long work that it is writable."""
    out = pathlib.Path(name)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise CommandError(
            f"--out {name} cannot be written to ({error.strerror}): choose another folder"
        ) from error
    return out
