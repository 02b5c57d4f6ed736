"""Errors that end the command with one line instead of a traceback."""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class CommandError(Exception):
    """Something that the user can put right; the message says how."""
