"""Errors that end the command with one line instead of a traceback."""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_SIGNALLED = 128  # and the signal's number, as shells have it


class CommandError(Exception):
    """Something that the user can put right; the message says how."""
